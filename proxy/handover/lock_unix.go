//go:build unix

package handover

import (
	"fmt"
	"os"
	"syscall"
)

// lock lets one process at a time find out whom a path belongs to.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("handover: lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}
