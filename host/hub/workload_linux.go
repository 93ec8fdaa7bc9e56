package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
)

// workload is one network with a thread that lives in it.
type workload struct {
	spec   Network
	thread *thread
	port   string // the hub's end of the veth pair
	ready  bool   // guarded by server.mu
}

func (s *server) addNetwork(n Network) error {
	s.mu.Lock()
	if s.loads[n.Name] != nil {
		s.mu.Unlock()
		return fmt.Errorf("workload %s has a network already", n.Name)
	}
	s.ports++
	w := &workload{spec: n, thread: newThread(), port: "w" + strconv.Itoa(s.ports)}
	s.loads[n.Name] = w
	s.mu.Unlock()

	err := s.layOut(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.loads, n.Name)
		w.thread.close()
		return fmt.Errorf("network of workload %s: %w", n.Name, err)
	}
	w.ready = true
	return nil
}

func (s *server) layOut(w *workload) error {
	n := w.spec
	var ns *os.File
	err := w.thread.do(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
		if err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if ns, err = netns.Current(); err != nil {
			return err
		}
		if _, err := netns.Prepare(); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(n.Hostname)); err != nil {
			return fmt.Errorf("host name %q: %w", n.Hostname, err)
		}
		return mountFiles(n)
	})
	if ns != nil {
		defer ns.Close()
	}
	if err != nil {
		return err
	}
	if err := s.net.do(func() error { return netns.Plug(w.port, ns) }); err != nil {
		return err
	}
	return w.thread.do(func() error {
		v6 := n.V6
		if !s.info.IPv6 {
			v6 = netip.Addr{}
		}
		if err := netns.Attach(n.Layout, n.V4, v6); err != nil {
			return err
		}
		return capture.Install(n.Capture)
	})
}

// removeNetwork kills what runs in the network and gives it up.
func (s *server) removeNetwork(name string) error {
	s.mu.Lock()
	w := s.loads[name]
	if w == nil || !w.ready {
		s.mu.Unlock()
		return fmt.Errorf("workload %s: %w", name, errGone)
	}
	delete(s.loads, name)
	s.mu.Unlock()
	w.thread.close()
	s.procMu.Lock()
	for _, c := range s.procs {
		if c.network == name {
			_ = unix.Kill(-c.pid, unix.SIGKILL)
		}
	}
	s.procMu.Unlock()
	return s.net.do(func() error { return netns.Unplug(w.port) })
}

// mountFiles gives the thread's mount namespace its own resolver files.
func mountFiles(n Network) error {
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		n.V4.String() + "\t" + n.Hostname + "\n"
	if n.V6.IsValid() {
		hosts += n.V6.String() + "\t" + n.Hostname + "\n"
	}
	for _, f := range []struct{ path, text string }{
		{"/etc/resolv.conf", resolvConf(n.Search)},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"},
		{"/etc/hosts", hosts},
	} {
		src := filepath.Join(n.Dir, filepath.Base(f.path))
		if err := os.WriteFile(src, []byte(f.text), 0o644); err != nil {
			return err
		}
		// A missing file means the same defaults (a nameserver on loopback, dns).
		err := unix.Mount(src, f.path, "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("bind %s to %s: %w", src, f.path, err)
		}
	}
	// A caching daemon of the host would answer with the host's view.
	for _, dir := range []string{"/var/run/nscd"} {
		if _, err := os.Stat(dir); err == nil {
			_ = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=4k")
		}
	}
	return nil
}

func resolvConf(search []string) string {
	var b strings.Builder
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	b.WriteString("nameserver 127.0.0.1\noptions ndots:5\n")
	return b.String()
}
