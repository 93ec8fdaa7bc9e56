//go:build !linux

package host

import "time"

// Usage is what one part of a workload has used.
type Usage struct {
	Namespace, Workload string
	Part                Part
	CPU                 time.Duration
	Memory              uint64
}

// Usage is not known on this system.
func (h *Host) Usage() []Usage { return nil }
