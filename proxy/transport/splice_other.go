//go:build !linux

package transport

// pipe does not exist without splice.
type pipe struct{}

func (h *half) spliceIn(int) (more, ok bool) { return false, false }

func (h *half) spliceOut(int) bool { panic("BUG: spliceOut without splice") }

func (h *half) releasePipe() {}
