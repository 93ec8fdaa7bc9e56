package proxy

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/proxy/transport"
)

// settled is when a proxy has usually read its configuration and become idle.
const settled = 5 * time.Second

// trim gives memory back that only the start needed: the heap's free pages, and
// pages of the program itself. Registering Envoy's messages touches most of
// them; what is needed again comes from the page cache, a few pages at a time.
// After that it gives back what a busy time has left behind.
func (r *runtime) trim(ctx context.Context) error {
	t := time.NewTicker(settled)
	defer t.Stop()
	q := newQuiet()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if now := (holds{r.listeners.Active(), transport.LargeBuffers()}); first || q.leftover(now) {
			debug.FreeOSMemory()
			q.swept(now)
		}
		if !first {
			continue
		}
		if err := dropProgramPages(); err != nil {
			r.log.Debug("cannot give back pages of the program", "error", err)
		}
	}
}

// dropProgramPages drops the clean pages of the executable from this process.
func dropProgramPages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		m, ok := parseMapping(lines.Text())
		if !ok || m.path != exe || strings.Contains(m.perms, "w") {
			continue
		}
		// The mapping is the kernel's and is not written to: nothing is lost.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}
