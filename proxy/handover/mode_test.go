package handover

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestModeOfPath: whoever looks finds the socket closed to others from its first moment on.
func TestModeOfPath(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere a socket gets its mode after it is bound")
	}
	path := filepath.Join(t.TempDir(), "s")
	var over atomic.Bool
	var looks sync.WaitGroup
	looks.Go(func() {
		for !over.Load() {
			if st, err := os.Stat(path); err == nil && st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", st.Mode())
				return
			}
		}
	})
	for range 2000 {
		ln, err := listenOwn(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	over.Store(true)
	looks.Wait()
}
