package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/control/console"
)

// writeLimits writes what of a SmartLimiter is in force, a line for each limit.
func writeLimits(w io.Writer, sets map[string]console.LimitSet) {
	for _, set := range slices.Sorted(maps.Keys(sets)) {
		for _, d := range sets[set].Descriptor {
			a := &d.Action
			line := fmt.Sprintf("  limit %s: ", set)
			if a.Concurrency != "" {
				line += a.Concurrency + " at a time"
			} else {
				line += fmt.Sprintf("%s in %v, %s", a.Quota, time.Duration(a.Interval.Seconds)*time.Second+time.Duration(a.Interval.Nanos), a.Strategy)
			}
			if a.Per != "" {
				line += ", for each " + a.Per
			}
			if a.Shadow {
				line += ", counted only"
			}
			if n := len(d.Match); n > 0 {
				line += fmt.Sprintf(", of requests that pass %d tests", n)
			}
			if d.CustomKey != "" {
				line += ", of " + d.CustomKey + "=" + d.Custom
			}
			fmt.Fprintln(w, line+" (when "+d.Condition+")")
		}
	}
}
