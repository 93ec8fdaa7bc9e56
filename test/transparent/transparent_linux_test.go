package transparent

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses: the client's network and the server's, with the proxy in both.
const (
	clientIP, serverIP = "10.201.1.2", "10.201.2.2"
	port               = "8080"
)

// router is three namespaces in a row: client, proxy, server.
type router struct {
	t                     *testing.T
	client, proxy, server string
}

func sh(t *testing.T, command string) {
	t.Helper()
	f := strings.Fields(command)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func newRouter(t *testing.T) *router {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	id := fmt.Sprintf("wt%d", os.Getpid())
	r := &router{t, id + "c", id + "p", id + "s"}
	for _, ns := range []string{r.client, r.proxy, r.server} {
		sh(t, "ip netns add "+ns)
		t.Cleanup(func() { sh(t, "ip netns del "+ns) })
		sh(t, "ip -n "+ns+" link set lo up")
	}
	for i, end := range []string{r.client, r.server} {
		near, far := fmt.Sprintf("p%d", i), fmt.Sprintf("e%d", i)
		subnet := fmt.Sprintf("10.201.%d.", i+1)
		sh(t, fmt.Sprintf("ip link add %s netns %s type veth peer name %s netns %s", near, r.proxy, far, end))
		sh(t, fmt.Sprintf("ip -n %s addr add %s1/24 dev %s", r.proxy, subnet, near))
		sh(t, fmt.Sprintf("ip -n %s addr add %s2/24 dev %s", end, subnet, far))
		sh(t, fmt.Sprintf("ip -n %s link set %s up", r.proxy, near))
		sh(t, fmt.Sprintf("ip -n %s link set %s up", end, far))
		sh(t, fmt.Sprintf("ip -n %s route add default via %s1", end, subnet))
		// All that comes in is for this machine, whomever it is meant for: what TPROXY
		// does for some of it.
		sh(t, fmt.Sprintf("ip -n %s rule add iif %s lookup 100", r.proxy, near))
		for _, key := range []string{"all", near} {
			sh(t, fmt.Sprintf("ip netns exec %s sysctl -qw net.ipv4.conf.%s.rp_filter=0", r.proxy, key))
		}
	}
	sh(t, fmt.Sprintf("ip -n %s route add local default dev lo table 100", r.proxy))
	return r
}

// in runs f in a namespace. Sockets keep the one that they were made in.
func (r *router) in(ns string, f func() error) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h, err := os.Open("/run/netns/" + ns)
		if err != nil {
			done <- err
			return
		}
		defer h.Close()
		if err := unix.Setns(int(h.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// serve answers over TCP and UDP with who has asked.
func (r *router) serve() {
	var l net.Listener
	var pc net.PacketConn
	r.in(r.server, func() (err error) {
		if l, err = net.Listen("tcp", serverIP+":"+port); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp", serverIP+":"+port)
		return err
	})
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 100)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(from.(*net.UDPAddr).IP.String()+"\n"), from)
		}
	}()
	r.t.Cleanup(func() { l.Close(); pc.Close(); <-done; <-done })
}

const bootstrap = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: connections
    address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
    transparent: true
    listener_filters:
    - name: src
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc, mark: 5}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: there}
  - name: datagrams
    address: {socket_address: {protocol: UDP, address: 0.0.0.0, port_value: 8080}}
    transparent: true
    listener_filters:
    - name: udp
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: u, cluster: server, use_original_src_ip: true}
  clusters:
  - {name: there, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 5s}
  - name: server
    type: STATIC
    load_assignment: {cluster_name: server, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.201.2.2, port_value: 8080}}}}]}]}
`

// build makes the proxy's binary.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "weft-proxy")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/weftmesh/weft/cmd/weft-proxy").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// start runs the proxy in its namespace.
func (r *router) start(bin string) {
	file := filepath.Join(r.t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		r.t.Fatal(err)
	}
	said := &bytes.Buffer{}
	cmd := exec.Command("ip", "netns", "exec", r.proxy, bin, "-c", file)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Log(said.String())
		}
	})
}

// ask asks the server, at its own address, who is asking.
func (r *router) ask(network string) (answer string, err error) {
	r.in(r.client, func() error {
		var c net.Conn
		if c, err = net.DialTimeout(network, serverIP+":"+port, time.Second); err != nil {
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if network == "udp" {
			_, _ = c.Write([]byte("?"))
		}
		answer, err = bufio.NewReader(c).ReadString('\n')
		return nil
	})
	return strings.TrimSpace(answer), err
}

func TestSeenByNeither(t *testing.T) {
	bin := build(t) // before the namespaces, which others might take for leftovers
	r := newRouter(t)
	r.serve()
	if _, err := r.ask("tcp"); err == nil {
		t.Fatal("the server is reached without a proxy")
	}
	r.start(bin)
	for _, network := range []string{"tcp", "udp"} {
		var got string
		err := os.ErrDeadlineExceeded
		for end := time.Now().Add(60 * time.Second); err != nil && time.Now().Before(end); {
			if got, err = r.ask(network); err != nil {
				select { // it may be starting still
				case <-time.After(50 * time.Millisecond):
				case <-t.Context().Done():
				}
			}
		}
		if err != nil || got != clientIP {
			t.Errorf("%s: the server was asked by %q, %v; want the client, %s", network, got, err, clientIP)
		}
	}
}
