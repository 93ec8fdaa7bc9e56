package hub_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/netns"
	"github.com/weftmesh/weft/wire"
)

// The test binary is also the hub, the programs in the mesh, a supervisor that
// gets killed, and itself again as an ordinary user.
func TestMain(m *testing.M) {
	if hub.Called(os.Args) {
		os.Exit(hub.Main())
	}
	if len(os.Args) > 2 && os.Args[1] == "program" {
		if err := program(os.Args[2], os.Args[3:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const nobody = 65534

// TestOrdinaryUser runs all the others without root.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("we are the ordinary user")
	}
	dir, err := os.MkdirTemp("", "weft-hub-user") // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "hub.test")
	copyFile(t, "/proc/self/exe", self)
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.v", "-test.timeout=10m"}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	cmd.Dir = tmp
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("as an ordinary user: %v", err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o755); err != nil {
		t.Fatal(err)
	}
}

type mesh struct {
	t   *testing.T
	hub *hub.Hub
	dir string
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	h, err := hub.Start(t.Context(), hub.Options{Layout: netns.DefaultLayout(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return &mesh{t: t, hub: h, dir: t.TempDir()}
}

func addresses(n int) (v4, v6 netip.Addr) {
	return netip.MustParseAddr(fmt.Sprintf("10.244.1.%d", n)), netip.MustParseAddr(fmt.Sprintf("fd00:10:244::1:%d", n))
}

func (m *mesh) network(n int, c capture.Config) string {
	m.t.Helper()
	name := "w" + strconv.Itoa(n)
	dir := filepath.Join(m.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	v4, v6 := addresses(n)
	err := m.hub.AddNetwork(m.t.Context(), hub.Network{
		Name: name, Hostname: name, V4: v4, V6: v6, Layout: netns.DefaultLayout(), Capture: c, Dir: dir,
		Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return name
}

// start runs this binary as a program and returns its output by line.
func (m *mesh) start(network string, sidecar bool, args ...string) (*hub.Process, *bufio.Reader) {
	m.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { r.Close() })
	exe, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	p, err := m.hub.Exec(m.t.Context(), hub.Exec{
		Network: network, Argv: append([]string{exe, "program"}, args...), Sidecar: sidecar, Stdout: w, Stderr: w, Dir: m.dir,
	})
	w.Close()
	if err != nil {
		m.t.Fatal(err)
	}
	return p, bufio.NewReader(r)
}

// listen starts a program that listens, and returns when it does.
func (m *mesh) listen(network string, sidecar bool, args ...string) *hub.Process {
	m.t.Helper()
	p, out := m.start(network, sidecar, args...)
	if line, err := out.ReadString('\n'); line != "listening\n" {
		m.t.Fatalf("%v: %q, %v", args, line, err)
	}
	go io.Copy(io.Discard, out)
	return p
}

// run runs a program to its end and returns what it said.
func (m *mesh) run(network string, sidecar bool, args ...string) string {
	m.t.Helper()
	p, out := m.start(network, sidecar, args...)
	raw, _ := io.ReadAll(out)
	<-p.Done()
	return strings.TrimSpace(string(raw))
}

// program is what runs in the mesh.
func program(what string, args []string) error {
	switch what {
	case "app": // says who is there: app NAME PORT...
		for _, port := range args[1:] {
			ln, err := net.Listen("tcp", ":"+port)
			if err != nil {
				return err
			}
			go serve(ln, func(c *net.TCPConn) string { return args[0] + " " + c.RemoteAddr().(*net.TCPAddr).IP.String() })
		}
	case "sidecar": // says where its clients wanted to go
		for _, port := range []int{wire.PortOutbound, wire.PortInbound, wire.PortRelay} {
			ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
			if err != nil {
				return err
			}
			go serve(ln, func(c *net.TCPConn) string { return strconv.Itoa(port) + " " + originalDst(c) })
		}
		if err := serveDNS(); err != nil {
			return err
		}
	case "get": // get ADDRESS [MARK]
		mark := 0
		if len(args) > 1 {
			mark, _ = strconv.Atoi(args[1])
		}
		return get("tcp", args[0], mark)
	case "sink", "sinks": // sink PORT
		if err := sink(args[0], what == "sinks"); err != nil {
			return err
		}
	case "pour": // pour ADDRESS BYTES
		return pour(args[0], args[1])
	case "lookup":
		_, err := net.LookupHost(args[0])
		fmt.Println(err)
		return nil
	case "send":
		c, err := net.Dial("udp", args[0])
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(60 * time.Second))
		c.Write([]byte("question"))
		b := make([]byte, 100)
		n, err := c.Read(b)
		fmt.Println(string(b[:n]))
		return err
	case "status":
		raw, err := os.ReadFile("/proc/self/status")
		fmt.Printf("%s", raw)
		name, _ := os.Hostname()
		fmt.Printf("Hostname:\t%s\nUser:\t%d\n", name, os.Getuid())
		return err
	case "cat":
		raw, err := os.ReadFile(args[0])
		fmt.Printf("%s", raw)
		return err
	case "orphan": // leaves a grandchild behind
		exe, _ := os.Executable()
		c := exec.Command(exe, "program", "sleep")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return c.Start()
	case "supervisor":
		return supervisor(args[0])
	}
	fmt.Println("listening")
	select {}
}

func serve(ln net.Listener, say func(*net.TCPConn) string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, say(c.(*net.TCPConn)))
		c.Close()
	}
}

func serveDNS() error {
	for _, a := range []string{"127.0.0.1", "::1"} {
		at := net.JoinHostPort(a, strconv.Itoa(wire.PortDNS))
		pc, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				pc.WriteTo(append([]byte("dns "), b[:n]...), from)
			}
		}()
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		go serve(ln, func(*net.TCPConn) string { return "dns over tcp" })
	}
	return nil
}

func originalDst(c *net.TCPConn) (out string) {
	rc, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	rc.Control(func(fd uintptr) {
		if c.LocalAddr().(*net.TCPAddr).IP.To4() != nil {
			m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
			if err != nil {
				out = err.Error()
				return
			}
			b := m.Multiaddr
			out = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])).String()
			return
		}
		i, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, 80)
		if err != nil {
			out = err.Error()
			return
		}
		p := i.Addr.Port>>8 | i.Addr.Port<<8
		out = netip.AddrPortFrom(netip.AddrFrom16(i.Addr.Addr), p).String()
	})
	return out
}

func get(network, addr string, mark int) error {
	d := net.Dialer{Timeout: 60 * time.Second, Control: func(_, _ string, rc syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		var err error
		rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		return err
	}}
	c, err := d.Dial(network, addr)
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	raw, err := io.ReadAll(c)
	fmt.Println(string(raw))
	return err
}

var both = capture.Config{Inbound: true, Outbound: true, DNS: true}

func TestSamePortInTwoWorkloads(t *testing.T) {
	m := newMesh(t)
	a, b, c := m.network(1, capture.Config{}), m.network(2, capture.Config{}), m.network(3, capture.Config{})
	m.listen(a, false, "app", "one", "80")
	m.listen(b, false, "app", "two", "80")
	for _, tc := range []struct{ to, want string }{
		{"10.244.1.1:80", "one 10.244.1.3"},
		{"10.244.1.2:80", "two 10.244.1.3"},
		{"[fd00:10:244::1:1]:80", "one fd00:10:244::1:3"},
		{"[fd00:10:244::1:2]:80", "two fd00:10:244::1:3"},
	} {
		if got := m.run(c, false, "get", tc.to); got != tc.want {
			t.Errorf("get %s: %q, want %q", tc.to, got, tc.want)
		}
	}
	if got := m.run(c, false, "get", "8.8.8.8:80"); !strings.Contains(got, "unreachable") {
		t.Errorf("an address outside: %q, want unreachable at once", got)
	}
}

func TestCapture(t *testing.T) {
	m := newMesh(t)
	a, b := m.network(1, both), m.network(2, capture.Config{})
	m.listen(a, true, "sidecar")
	m.listen(a, false, "app", "a", "9080", "15020", "15021", "15090")
	m.listen(b, false, "app", "b", "9080")
	for _, tc := range []struct {
		name, from, to, mark, want string
	}{
		{"outbound to a service", a, "10.96.0.10:9080", "", "15001 10.96.0.10:9080"},
		{"outbound to a workload", a, "10.244.1.2:9080", "", "15001 10.244.1.2:9080"},
		{"outbound to anywhere", a, "93.184.216.34:443", "", "15001 93.184.216.34:443"},
		{"outbound to a service, IPv6", a, "[fd00:10:96::a]:9080", "", "15001 [fd00:10:96::a]:9080"},
		{"outbound to a workload, IPv6", a, "[fd00:10:244::1:2]:9080", "", "15001 [fd00:10:244::1:2]:9080"},
		{"the sidecar's own", a, "10.244.1.2:9080", "1337", "b 10.244.1.1"},
		{"the sidecar's own, IPv6", a, "[fd00:10:244::1:2]:9080", "1337", "b fd00:10:244::1:1"},
		{"inbound", b, "10.244.1.1:9080", "", "15006 10.244.1.1:9080"},
		{"inbound, IPv6", b, "[fd00:10:244::1:1]:9080", "", "15006 [fd00:10:244::1:1]:9080"},
		{"inbound to a port nobody has", b, "10.244.1.1:1", "", "15006 10.244.1.1:1"},
		{"merged metrics", b, "10.244.1.1:15020", "", "a 10.244.1.2"},
		{"health", b, "10.244.1.1:15021", "", "a 10.244.1.2"},
		{"metrics", b, "[fd00:10:244::1:1]:15090", "", "a fd00:10:244::1:2"},
		{"program to itself", a, "127.0.0.1:9080", "", "a 127.0.0.1"},
		{"program to itself, IPv6", a, "[::1]:9080", "", "a ::1"},
		{"program to its own address", a, "10.244.1.1:9080", "", "a 10.244.1.1"},
		{"sidecar to its own address, as a service picks it", a, "10.244.1.1:9080", "1337", "15006 10.244.1.1:9080"},
		{"the same, IPv6", a, "[fd00:10:244::1:1]:9080", "1337", "15006 [fd00:10:244::1:1]:9080"},
		{"sidecar to loopback", a, "127.0.0.1:9080", "1337", "a 127.0.0.1"},
		{"DNS over TCP", a, "10.96.0.53:53", "", "dns over tcp"},
	} {
		args := []string{"get", tc.to}
		if tc.mark != "" {
			args = append(args, tc.mark)
		}
		if got := m.run(tc.from, tc.mark != "", args...); got != tc.want {
			t.Errorf("%s: get %s: %q, want %q", tc.name, tc.to, got, tc.want)
		}
	}
	for _, to := range []string{"127.0.0.1:53", "8.8.8.8:53", "[2001:4860:4860::8888]:53", "[::1]:53", "10.96.0.10:53"} {
		if got := m.run(a, false, "send", to); got != "dns question" {
			t.Errorf("DNS to %s: %q", to, got)
		}
	}
}

func TestCaptureRelay(t *testing.T) {
	m := newMesh(t)
	l := netns.DefaultLayout()
	c := both
	c.Relay, c.Mesh = true, []netip.Prefix{l.V4, l.V6}
	c.SkipOutbound, c.SkipOutboundNets = []uint16{9999}, []netip.Prefix{netip.MustParsePrefix("10.244.1.2/32")}
	a, b := m.network(1, c), m.network(2, capture.Config{})
	m.listen(a, true, "sidecar")
	m.listen(b, false, "app", "b", "9080", "9999")
	relay := strconv.Itoa(wire.PortRelay)
	for _, tc := range []struct{ to, mark, want string }{
		{"93.184.216.34:443", "1337", relay + " 93.184.216.34:443"},
		{"[2606:2800::1]:443", "1337", relay + " [2606:2800::1]:443"},
		{"10.244.1.2:9080", "1337", "b 10.244.1.1"},
		{"[fd00:10:244::1:2]:9080", "1337", "b fd00:10:244::1:1"},
		{"93.184.216.34:443", "", "15001 93.184.216.34:443"},
		{"10.244.1.2:9080", "", "b 10.244.1.1"},
		{"[fd00:10:244::1:2]:9999", "", "b fd00:10:244::1:1"},
	} {
		args := []string{"get", tc.to}
		if tc.mark != "" {
			args = append(args, tc.mark)
		}
		if got := m.run(a, true, args...); got != tc.want {
			t.Errorf("get %s mark %s: %q, want %q", tc.to, tc.mark, got, tc.want)
		}
	}
}

func TestVirtualAddresses(t *testing.T) {
	m := newMesh(t)
	l := netns.DefaultLayout()
	a, b, c := m.network(1, capture.Config{}), m.network(2, capture.Config{}), m.network(3, capture.Config{})
	m.listen(b, false, "app", "b", "9080")
	m.listen(c, false, "app", "c", "9080")
	m.listen(a, true, "sidecar")
	target := func(s ...string) (out []netip.AddrPort) {
		for _, t := range s {
			out = append(out, netip.MustParseAddrPort(t))
		}
		return out
	}
	cfg := capture.Config{DNS: true, RelayAll: true, Mesh: append([]netip.Prefix{l.V4, l.V6}, l.Services...), Virtual: []capture.Virtual{
		{Proto: "tcp", Address: netip.MustParseAddrPort("10.96.0.10:80"), Targets: target("10.244.1.2:9080", "10.244.1.3:9080")},
		{Proto: "tcp", Address: netip.MustParseAddrPort("[fd00:10:96::a]:80"), Targets: target("[fd00:10:244::1:2]:9080")},
		{Proto: "udp", Address: netip.MustParseAddrPort("10.96.0.10:53"), Targets: target("10.244.1.9:1")}, // DNS comes first
	}}
	if err := m.hub.SetCapture(t.Context(), a, cfg); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 30 {
		seen[m.run(a, false, "get", "10.96.0.10:80")]++
	}
	if len(seen) != 2 || seen["b 10.244.1.1"] == 0 || seen["c 10.244.1.1"] == 0 {
		t.Errorf("of 30 connections: %v, want some at b and some at c", seen)
	}
	if got := m.run(a, false, "get", "[fd00:10:96::a]:80"); got != "b fd00:10:244::1:1" {
		t.Errorf("IPv6: %q", got)
	}
	if got := m.run(a, false, "get", "93.184.216.34:443"); got != strconv.Itoa(wire.PortRelay)+" 93.184.216.34:443" {
		t.Errorf("outside: %q, want the relay", got)
	}
	if got := m.run(a, false, "send", "10.96.0.10:53"); got != "dns question" {
		t.Errorf("DNS: %q", got)
	}
	if got := m.run(a, false, "get", "10.96.0.99:80"); !strings.Contains(got, "unreachable") {
		t.Errorf("a service that nobody is: %q, want unreachable at once", got)
	}
}

func TestProgramSeesItself(t *testing.T) {
	m := newMesh(t)
	a := m.network(1, both)
	status := m.run(a, false, "status")
	for _, want := range []string{"Hostname:\tw1\n", fmt.Sprintf("User:\t%d", os.Getuid())} {
		if !strings.Contains(status, want) {
			t.Errorf("status lacks %q:\n%s", want, status)
		}
	}
	if os.Getuid() != 0 {
		for _, set := range []string{"CapEff", "CapPrm", "CapAmb"} {
			if !strings.Contains(status, set+":\t0000000000000000\n") {
				t.Errorf("a program has capabilities (%s):\n%s", set, status)
			}
		}
	}
	if got, want := m.run(a, false, "cat", "/etc/resolv.conf"), "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5"; got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	if got := m.run(a, false, "cat", "/etc/nsswitch.conf"); !strings.Contains(got, "hosts: files dns") {
		t.Errorf("nsswitch.conf: %q", got)
	}
}

func TestDialProgram(t *testing.T) {
	m := newMesh(t)
	a := m.network(1, both)
	m.listen(a, true, "sidecar")
	m.listen(a, false, "app", "a", "9080")
	v4, v6 := addresses(1)
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(v4, 9080), netip.AddrPortFrom(v6, 9080), netip.MustParseAddrPort("127.0.0.1:9080")} {
		c, err := m.hub.Dial(t.Context(), hub.Socket{Network: a, Proto: "tcp", To: to, Program: true})
		if err != nil {
			t.Errorf("dial %s: %v", to, err)
			continue
		}
		raw, _ := io.ReadAll(c)
		c.Close()
		if !bytes.HasPrefix(raw, []byte("a ")) {
			t.Errorf("%s: %q, want the program itself", to, raw)
		}
	}
	_, err := m.hub.Dial(t.Context(), hub.Socket{Network: a, Proto: "tcp", To: netip.AddrPortFrom(v4, 9), Program: true})
	if !isRefused(err) {
		t.Errorf("dial of a closed port: %v, want refused", err)
	}
	c, err := m.hub.Dial(t.Context(), hub.Socket{Proto: "tcp", To: netip.AddrPortFrom(v4, 9080)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if raw, _ := io.ReadAll(c); string(raw) != "15006 10.244.1.1:9080" {
		t.Errorf("from the hub: %q, want to be captured", raw)
	}
}

func isRefused(err error) bool { return err != nil && strings.Contains(err.Error(), "refused") }

func TestExitAndSignal(t *testing.T) {
	m := newMesh(t)
	a := m.network(1, capture.Config{})
	p := m.listen(a, false, "sleep")
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID())); !bytes.Contains(cmdline, []byte("program\x00sleep")) {
		t.Errorf("process %d is %q (%v)", p.PID(), cmdline, err)
	}
	if err := p.Signal(t.Context(), syscall.SIGTERM, true); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if e := p.Exit(); e.Signal != int(syscall.SIGTERM) || e.Code != -1 {
		t.Errorf("exit %+v, want SIGTERM", e)
	}
	q, _ := m.start(a, false, "get", "nonsense")
	<-q.Done()
	if e := q.Exit(); e.Code != 1 {
		t.Errorf("exit %+v, want code 1", e)
	}
	if err := q.Signal(t.Context(), syscall.SIGTERM, true); err != nil {
		t.Errorf("signal to one that ended: %v", err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	defer w.Close()
	if _, err := m.hub.Exec(t.Context(), hub.Exec{Network: a, Argv: []string{"no-such-program"}, Stdout: w, Stderr: w, Dir: m.dir}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestRemoveNetwork(t *testing.T) {
	m := newMesh(t)
	a := m.network(1, capture.Config{})
	p := m.listen(a, false, "sleep")
	if err := m.hub.RemoveNetwork(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := os.RemoveAll(filepath.Join(m.dir, a)); err != nil {
		t.Fatal(err)
	}
	b := m.network(1, both) // name and addresses are free again
	m.listen(b, false, "app", "again", "80")
	c := m.network(2, capture.Config{})
	if got := m.run(c, false, "get", "10.244.1.1:15020"); !isRefused(fmt.Errorf("%s", got)) {
		t.Errorf("%q, want refused", got)
	}
}

func TestNothingIsLeftAfterKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(exe, "program", "supervisor", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	hubPID, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("supervisor said %q", line)
	}
	before := descendants(t, hubPID)
	if len(before) < 3 { // the hub, the program, the orphan
		t.Fatalf("%v runs before the kill, want at least 3", before)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	deadline := time.Now().Add(60 * time.Second)
	for _, pid := range before {
		for {
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %d is left behind", pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	if ifs, _ := net.Interfaces(); len(ifs) > 0 {
		for _, i := range ifs {
			if i.Name == "weft0" {
				t.Error("the bridge is in the host's namespace")
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("a mount is in the host's namespace (%v)", err)
	}
}

// supervisor starts a hub with a program that leaves an orphan, says the hub's
// number and waits to be killed.
func supervisor(dir string) error {
	h, err := hub.Start(context.Background(), hub.Options{Layout: netns.DefaultLayout(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	v4, v6 := addresses(1)
	if err := h.AddNetwork(context.Background(), hub.Network{Name: "a", Hostname: "a", V4: v4, V6: v6, Layout: netns.DefaultLayout(), Capture: both, Dir: dir}); err != nil {
		return err
	}
	exe, _ := os.Executable()
	for _, what := range []string{"orphan", "sleep"} {
		p, err := h.Exec(context.Background(), hub.Exec{Network: "a", Argv: []string{exe, "program", what}, Stdout: os.Stderr, Stderr: os.Stderr, Dir: dir})
		if err != nil {
			return err
		}
		if what == "orphan" {
			<-p.Done()
		}
	}
	fmt.Println(h.PID())
	select {}
}

// descendants lists pid and all below it.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	out := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		raw, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(raw)) {
			n, _ := strconv.Atoi(s)
			out = append(out, descendants(t, n)...)
		}
	}
	return out
}

func TestKilledHub(t *testing.T) {
	m := newMesh(t)
	a := m.network(1, capture.Config{})
	p := m.listen(a, false, "sleep")
	if err := syscall.Kill(m.hub.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-m.hub.Done()
	<-p.Done()
	if e := p.Exit(); e.Signal != int(syscall.SIGKILL) {
		t.Errorf("exit %+v, want SIGKILL", e)
	}
	if err := m.hub.RemoveNetwork(t.Context(), a); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("a call to a dead hub: %v", err)
	}
}

// As root without the right to make namespaces plainly (in a container, say)
// a user namespace may still be had.
func TestRootInUserNamespace(t *testing.T) {
	h, err := hub.Start(t.Context(), hub.Options{Layout: netns.DefaultLayout(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), UserNamespace: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	m := &mesh{t: t, hub: h, dir: t.TempDir()}
	a := m.network(1, both)
	m.listen(a, true, "sidecar")
	if got := m.run(a, true, "get", "10.96.0.10:9080"); got != "15001 10.96.0.10:9080" {
		t.Errorf("%q", got)
	}
}
