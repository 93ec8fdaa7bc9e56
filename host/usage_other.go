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

// Memory is what the machine has, in bytes; 0: unknown.
func Memory() float64 { return 0 }
