package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restCheck is how often a control plane looks whether it is at rest, and restQuiet
	// what it may allocate in between and be so; restGarbage is what it must have
	// allocated since it gave memory back last for it to do so again.
	restCheck   = 2 * time.Second
	restQuiet   = 256 << 10
	restGarbage = 8 << 20
)

// thrift makes the collector keep less garbage than it does by default: a control
// plane collects rarely, and what it holds is large. When it has come to rest it gives
// memory back that it does not need. GOGC still says otherwise.
func thrift(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(50)
	go func() {
		tick := time.NewTicker(restCheck)
		defer tick.Stop()
		given, last := allocated(), allocated()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			now := allocated()
			if now-last < restQuiet && now-given > restGarbage {
				debug.FreeOSMemory()
				given = now
			}
			last = now
		}
	}()
}

// allocated is how much has been allocated since the start, in bytes.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
