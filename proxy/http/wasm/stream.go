package wasm

import (
	"github.com/weftmesh/weft/proxy/filter"
)

// instance is one stream's context.
type instance struct {
	vm *vm
	id uint32
	s  filter.Stream
	// core is that of the plug-in; handle keeps the machines alive.
	handle *plugin
	half   [2]half
	// reply is the answer that the plug-in gives, sent when the machine is left; answered: it was sent.
	reply    *filter.LocalReply
	answered bool
	reroute  bool
	// open: the plug-in has failed, and the stream goes on without it.
	open bool
}

// half is one direction of a stream.
type half struct {
	// headersWait, dataWait and trailersWait: the plug-in has held that.
	headersWait, dataWait, trailersWait bool
	// held are bytes that were taken in and not passed on; end: nothing comes after them.
	held []byte
	end  bool
	// seen is the buffer that the plug-in sees during a call; other: it has changed it.
	seen  []byte
	other bool
	// trailers of the message, when there are any.
	trailers *filter.Headers
	// resume: what waits goes on, when the machine is left.
	resume bool
}

// newInstance makes a stream's context; nil when the plug-in has failed and is not to stand in the way.
func newInstance(p *plugin, s filter.Stream) *instance {
	x := &instance{handle: p, s: s, vm: p.core.pick()}
	if x.vm == nil {
		x.open = p.core.failOpen
		return x
	}
	v := x.vm
	v.mu.Lock()
	defer v.mu.Unlock()
	x.id = v.next
	v.next++
	v.streams[x.id] = x
	v.current = x
	if _, err := v.run(v.fn.create, uint64(x.id), rootContext); err != nil {
		x.open = p.core.failOpen
	}
	return x
}

// enter calls a function for this stream, and tells what the plug-in wants; failed: it has none any more.
func (x *instance) enter(do func(v *vm) (uint64, error)) (action uint64, failed bool) {
	if x.vm == nil {
		return 0, true
	}
	v := x.vm
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = x
	action, err := do(v)
	v.current = nil
	if err != nil {
		x.open = x.handle.core.failOpen
	}
	return action, err != nil
}

// settle does what the plug-in asked for while it ran. done: it has answered.
func (x *instance) settle() (done bool) {
	if x.reroute {
		x.reroute = false
		x.s.ClearRoute()
	}
	if x.reply == nil {
		return false
	}
	r := x.reply
	x.reply, x.answered = nil, true
	x.s.Reply(*r)
	return true
}

// broken is what becomes of a message when the plug-in has failed.
func (x *instance) broken() filter.Verdict {
	if x.open || x.answered {
		return filter.Continue
	}
	x.answered = true
	x.s.Reply(filter.LocalReply{Status: 503, GRPCStatus: -1, Details: "wasm_fail_stream"})
	return filter.Reply
}

// RequestHeaders implements filter.HTTPFilter.
func (x *instance) RequestHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	return x.headers(0, h, end)
}

// ResponseHeaders implements filter.HTTPFilter.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if h.Status < 200 && h.Status != 101 {
		return filter.Continue
	}
	return x.headers(1, h, end)
}

// RequestData implements filter.HTTPFilter.
func (x *instance) RequestData(_ filter.Stream, b []byte, end bool) filter.Verdict {
	return x.data(0, b, end)
}

// ResponseData implements filter.HTTPFilter.
func (x *instance) ResponseData(_ filter.Stream, b []byte, end bool) filter.Verdict {
	return x.data(1, b, end)
}

// RequestTrailers implements filter.HTTPFilter.
func (x *instance) RequestTrailers(_ filter.Stream, h *filter.Headers) filter.Verdict {
	return x.trailers(0, h)
}

// ResponseTrailers implements filter.HTTPFilter.
func (x *instance) ResponseTrailers(_ filter.Stream, h *filter.Headers) filter.Verdict {
	return x.trailers(1, h)
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (x *instance) headers(d int, h *filter.Headers, end bool) filter.Verdict {
	if x.open || x.answered {
		return filter.Continue
	}
	action, failed := x.enter(func(v *vm) (uint64, error) {
		f := v.fn.reqHeaders
		if d == 1 {
			f = v.fn.respHeaders
		}
		if f == nil {
			return 0, v.alive()
		}
		return v.run(f, uint64(x.id), uint64(count(h)), truth(end)) //nolint:gosec // a count
	})
	switch {
	case failed:
		return x.broken()
	case x.settle():
		return filter.Reply
	case action == actionContinue || x.half[d].resume:
		x.half[d].resume = false
		return filter.Continue
	}
	x.half[d].headersWait = true
	return filter.Wait
}

// alive is an error when the machine has failed.
func (v *vm) alive() error {
	if v.dead {
		return errDead
	}
	return nil
}

func (x *instance) data(d int, b []byte, end bool) filter.Verdict {
	h := &x.half[d]
	switch {
	case x.open || x.answered:
		return filter.Continue
	case h.headersWait:
		return x.hold(d, b, end)
	case !x.wants(d):
		return filter.Continue
	}
	had := len(h.held) > 0
	if h.seen = b; had {
		if len(h.held)+len(b) > x.s.BufferLimit() {
			return x.tooLarge(d)
		}
		h.held = append(h.held, b...)
		h.seen = h.held
	}
	v := x.body(d, h, end)
	switch v {
	case filter.Wait: // as far as the plug-in is concerned; the host goes on reading
		if len(h.seen) > x.s.BufferLimit() {
			return x.tooLarge(d)
		}
		if !had || h.other {
			h.held = append(h.held[:0:0], h.seen...)
		}
		h.dataWait, h.end, h.seen = true, end, nil
		return filter.Stop
	case filter.Continue:
		if !had && !h.other {
			h.seen = nil
			return filter.Continue
		}
		x.pass(d, h, h.seen, end)
		return filter.Stop
	}
	return v
}

// wants tells whether the plug-in looks at bodies in a direction.
func (x *instance) wants(d int) bool {
	if x.vm == nil {
		return true // to be answered
	}
	if d == 0 {
		return x.vm.fn.reqBody != nil
	}
	return x.vm.fn.respBody != nil
}

// body shows the plug-in h.seen. Wait: it wants more.
func (x *instance) body(d int, h *half, end bool) filter.Verdict {
	h.other = false
	action, failed := x.enter(func(v *vm) (uint64, error) {
		f := v.fn.reqBody
		if d == 1 {
			f = v.fn.respBody
		}
		return v.run(f, uint64(x.id), uint64(len(h.seen)), truth(end))
	})
	switch {
	case failed:
		return x.broken()
	case x.settle():
		return filter.Reply
	case action == actionContinue || h.resume:
		h.resume = false
		return filter.Continue
	}
	return filter.Wait
}

// hold takes in what comes while the head waits.
func (x *instance) hold(d int, b []byte, end bool) filter.Verdict {
	h := &x.half[d]
	if len(h.held)+len(b) > x.s.BufferLimit() {
		return x.tooLarge(d)
	}
	h.held, h.end = append(h.held, b...), end
	return filter.Stop
}

func (x *instance) tooLarge(d int) filter.Verdict {
	x.answered = true
	x.s.Reply(filter.TooLarge(filter.Direction(d))) //nolint:gosec // 0 or 1
	return filter.Reply
}

// pass sends what was taken in.
func (x *instance) pass(d int, h *half, b []byte, end bool) {
	h.held, h.seen, h.dataWait, h.other = nil, nil, false, false
	if len(b) > 0 || end {
		x.s.Inject(x, filter.Direction(d), b, end) //nolint:gosec // 0 or 1
	}
}

func (x *instance) trailers(d int, t *filter.Headers) filter.Verdict {
	h := &x.half[d]
	h.trailers = t
	if x.open || x.answered {
		return filter.Continue
	}
	if h.headersWait {
		return filter.Continue // held by the host behind the head; what was taken in goes before
	}
	action, failed := x.enter(func(v *vm) (uint64, error) {
		f := v.fn.reqTrailers
		if d == 1 {
			f = v.fn.respTrailers
		}
		return v.run(f, uint64(x.id), uint64(count(t))) //nolint:gosec // a count
	})
	switch {
	case failed:
		return x.broken()
	case x.settle():
		return filter.Reply
	case action == actionContinue || h.resume:
		h.resume = false
		x.pass(d, h, h.held, false)
		return filter.Continue
	}
	h.trailersWait = true
	return filter.Wait
}

// after does what the plug-in asked for outside of a message's way, on the stream's thread of execution.
func (x *instance) after(s filter.Stream) {
	if x.answered || x.settle() {
		return
	}
	for d := range x.half {
		if h := &x.half[d]; h.resume {
			h.resume = false
			x.goOn(s, d, h)
		}
	}
}

// goOn lets what waits in a direction go.
func (x *instance) goOn(s filter.Stream, d int, h *half) {
	switch {
	case h.headersWait:
		h.headersWait = false
		if len(h.held) > 0 || h.end {
			h.seen = h.held
			verdict := filter.Continue
			if x.wants(d) {
				verdict = x.body(d, h, h.end)
			}
			switch verdict {
			case filter.Reply:
				return
			case filter.Wait:
				h.held, h.dataWait, h.seen = append(h.held[:0:0], h.seen...), true, nil
			default:
				x.pass(d, h, h.seen, h.end)
			}
		}
		s.Resume(x, filter.Direction(d)) //nolint:gosec // 0 or 1
	case h.trailersWait:
		h.trailersWait = false
		x.pass(d, h, h.held, false)
		s.Resume(x, filter.Direction(d)) //nolint:gosec // 0 or 1
	case h.dataWait:
		x.pass(d, h, h.held, h.end)
	}
}

// Done implements filter.HTTPFilter.
func (x *instance) Done(filter.Stream) {
	v := x.vm
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = x
	if !v.dead {
		_, _ = v.run(v.fn.done, uint64(x.id))
		_, _ = v.run(v.fn.log, uint64(x.id))
		_, _ = v.run(v.fn.del, uint64(x.id))
	}
	v.current = nil
	delete(v.streams, x.id)
	for token, c := range v.calls {
		if c.x == x {
			delete(v.calls, token)
			if c.cancel != nil {
				c.cancel()
			}
		}
	}
}

var _ filter.HTTPFilter = (*instance)(nil)

// reply makes the answer of a plug-in's.
func reply(status, grpc int, body, details string, header []filter.Field) *filter.LocalReply {
	r := &filter.LocalReply{Status: status, Body: body, GRPCStatus: grpc, Details: details}
	for _, f := range header {
		if valid(f.Name, f.Value) && f.Name[0] != ':' {
			r.Header = append(r.Header, f)
		}
	}
	if r.Details == "" {
		r.Details = "wasm"
	}
	return r
}
