package host_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/wire"
)

// The test binary is also the hub, the programs and the proxies of the mesh,
// and itself again as an ordinary user.
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
	dir, err := os.MkdirTemp("", "weft-host-user") // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self, tmp := filepath.Join(dir, "host.test"), filepath.Join(dir, "tmp")
	if err := os.WriteFile(self, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	cmd.Dir = tmp
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("as an ordinary user: %v", err)
	}
}

// program is what runs in the mesh.
func program(what string, args []string) error {
	switch what {
	case "app": // app PORT: answers with who it is
		port := args[0]
		if port == "env" {
			port = os.Getenv("PORT")
		}
		ln, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		fmt.Println("listening", port)
		return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u := r.FormValue("get"); u != "" { // goes on to another
				res, err := http.Get(u)
				if err != nil {
					http.Error(w, err.Error(), 502)
					return
				}
				defer res.Body.Close()
				fmt.Fprintf(w, "%s > ", os.Getenv("POD_NAME"))
				io.Copy(w, res.Body)
				return
			}
			fmt.Fprintf(w, "%s %s %s", os.Getenv("POD_NAME"), os.Getenv("VERSION"), os.Getenv(r.FormValue("env")))
		}))
	case "local": // local PORT...: listens on loopback only
		for _, port := range args {
			for _, a := range []string{"127.0.0.1", "::1"} {
				ln, err := net.Listen("tcp", net.JoinHostPort(a, port))
				if err != nil {
					return err
				}
				go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s ", os.Getenv("POD_NAME")) }))
			}
		}
		select {}
	case "crash":
		fmt.Println("I cannot go on")
		os.Exit(7)
	case "proxy": // proxy ADMIN HEALTH
		return proxy(args[0], args[1])
	case "sleep":
		select {}
	case "supervisor":
		return supervisor(args[0])
	}
	return fmt.Errorf("no program %q", what)
}

// proxy is a sidecar that sends everything where it was to go.
func proxy(admin, health string) error {
	go http.ListenAndServe("127.0.0.1:"+admin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "admin of ", os.Getenv("NAME"))
	}))
	for port, d := range map[int]func(netip.AddrPort) *net.Dialer{wire.PortOutbound: outward, wire.PortInbound: inward} {
		if admin != strconv.Itoa(wire.PortAdmin) {
			break // capture mode proxy: nothing is redirected
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					to := originalDst(c.(*net.TCPConn))
					up, err := d(to).Dial("tcp", to.String())
					if err != nil {
						return
					}
					defer up.Close()
					go func() { io.Copy(up, c); up.(*net.TCPConn).CloseWrite() }()
					io.Copy(c, up)
				}()
			}
		}()
	}
	return http.ListenAndServe(":"+health, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz/ready" {
			w.WriteHeader(404)
		}
	}))
}

func outward(netip.AddrPort) *net.Dialer {
	return &net.Dialer{Timeout: 60 * time.Second, Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, wire.ProxyMark) })
		return err
	}}
}

func inward(to netip.AddrPort) *net.Dialer {
	from := "127.0.0.6"
	if to.Addr().Is6() {
		from = "::6"
	}
	return &net.Dialer{Timeout: 60 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
}

func originalDst(c *net.TCPConn) (out netip.AddrPort) {
	rc, err := c.SyscallConn()
	if err != nil {
		return out
	}
	rc.Control(func(fd uintptr) {
		if c.LocalAddr().(*net.TCPAddr).IP.To4() != nil {
			if m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
				b := m.Multiaddr
				out = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
			}
			return
		}
		if i, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, 80); err == nil {
			out = netip.AddrPortFrom(netip.AddrFrom16(i.Addr.Addr), i.Addr.Port>>8|i.Addr.Port<<8)
		}
	})
	return out
}
