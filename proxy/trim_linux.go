package proxy

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settled is when a proxy has usually read its configuration and become idle.
const settled = 5 * time.Second

// trim gives memory back that only the start needed: the heap's free pages, and
// pages of the program itself. Registering Envoy's messages touches most of
// them; what is needed again comes from the page cache, a few pages at a time.
func (r *runtime) trim(ctx context.Context) error {
	t := time.NewTimer(settled)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-t.C:
	}
	debug.FreeOSMemory()
	if err := dropProgramPages(); err != nil {
		r.log.Debug("cannot give back pages of the program", "error", err)
	}
	return nil
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
