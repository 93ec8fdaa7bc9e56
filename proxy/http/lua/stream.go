package lua

import (
	"iter"

	lua "github.com/yuin/gopher-lua"

	"github.com/weftmesh/weft/proxy/filter"
)

// waiting is what a coroutine waits for.
type waiting uint8

const (
	nothing waiting = iota
	forBody
	forChunk
	forTrailers
	forCall
)

// instance is one stream.
type instance struct {
	filter.PassThrough
	factory *factory
	s       filter.Stream
	script  *script // nil: none runs
	context map[string]any
	state   *state
	half    [2]half
	reply   *filter.LocalReply
	// answered: the script has answered, or the stream is over: nothing is run any more.
	answered bool
	reroute  bool
	cancel   func() // of a call under way
}

// half is one direction: its script's run, and what is held of the message.
type half struct {
	// next goes on with the script, which runs as far as it has to wait; stop ends it; nil: it does not run.
	next func() (waiting, bool)
	stop func()
	// yield is how the script waits; given is what it gets then.
	yield    func(waiting) bool
	given    []lua.LValue
	err      error
	direct   filter.Direction
	head     *filter.Headers
	trailers *filter.Headers
	waits    waiting
	// held: the head waits. body is what came of the body since; end: nothing comes after it.
	held bool
	body []byte
	end  bool
	// short: the message was over with its head.
	short bool
	// whole is the body that the script has seen, and may have replaced.
	whole *buffer
	// gone: the head has gone on, and the script can change it no more.
	gone bool
}

// buffer is a body, or a piece of one, as scripts see it.
type buffer struct {
	b       []byte
	changed bool
}

// RequestHeaders implements filter.HTTPFilter.
func (x *instance) RequestHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	x.script, x.context = x.factory.choose(x.s)
	if x.script == nil || !x.script.request && !x.script.response {
		x.script = nil
		return filter.Continue
	}
	x.state = x.script.pick()
	if !x.script.request {
		return filter.Continue
	}
	return x.begin(0, h, end)
}

// ResponseHeaders implements filter.HTTPFilter.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if x.script == nil || x.answered || !x.script.response || h.Status < 200 && h.Status != 101 {
		return filter.Continue
	}
	return x.begin(1, h, end)
}

// begin runs the function of a direction.
func (x *instance) begin(d int, head *filter.Headers, end bool) filter.Verdict {
	h := &x.half[d]
	h.head, h.end, h.short, h.direct = head, end, end, filter.Direction(d) //nolint:gosec // 0 or 1
	st := x.state
	st.mu.Lock()
	if err := st.begin(x.script); err != nil {
		st.mu.Unlock()
		x.failed(err)
		return filter.Continue
	}
	f := st.onRequest
	if d == 1 {
		f = st.onResponse
	}
	h.start(st, f, st.wrap("handle", &handle{x, h}))
	x.step(h)
	st.mu.Unlock()
	switch {
	case x.settle():
		return filter.Reply
	case h.waits == forBody || h.waits == forCall:
		h.held = true
		return filter.Wait
	}
	h.gone = true
	return filter.Continue
}

// start prepares the script's run. It is a coroutine of Go's and not of Lua's, which cannot wait within iterators.
func (h *half) start(st *state, f *lua.LFunction, arg lua.LValue) {
	l, _ := st.l.NewThread()
	h.next, h.stop = iter.Pull(func(yield func(waiting) bool) {
		h.yield = yield
		l.Push(f)
		l.Push(arg)
		h.err = l.PCall(1, 0, nil)
	})
}

// wait is called by what a script calls: it returns what the script waited for.
func (h *half) wait(l *lua.LState, w waiting) int {
	if !h.yield(w) {
		l.RaiseError("the stream is over")
	}
	for _, v := range h.given {
		l.Push(v)
	}
	n := len(h.given)
	h.given = nil
	return n
}

// step runs the script until it waits or ends. It is called with the state's lock held.
func (x *instance) step(h *half) {
	if h.next == nil {
		return
	}
	w, waits := h.next()
	if h.waits = w; waits {
		return
	}
	h.waits, h.next, h.stop = nothing, nil, nil
	if h.err != nil && x.reply == nil {
		x.failed(h.err)
	}
}

func (x *instance) failed(err error) {
	x.script.host.errors.Add(1)
	x.script.host.log.Error("a Lua script has failed", "filter", x.script.host.name, "error", err)
}

// settle does what the script asked for while it ran. done: it has answered.
func (x *instance) settle() (done bool) {
	if x.reroute && !x.factory.keepRoute {
		x.s.ClearRoute()
	}
	x.reroute = false
	if x.reply == nil {
		return false
	}
	r := x.reply
	x.reply, x.answered = nil, true
	x.s.Reply(*r)
	return true
}

// again resumes a direction's coroutine from outside, and lets the message go when it is done.
func (x *instance) again(h *half, args func() []lua.LValue) (answered bool) {
	x.state.mu.Lock()
	h.given = args()
	x.step(h)
	x.state.mu.Unlock()
	return x.settle()
}

// RequestData implements filter.HTTPFilter.
func (x *instance) RequestData(_ filter.Stream, b []byte, end bool) filter.Verdict {
	return x.data(&x.half[0], b, end)
}

// ResponseData implements filter.HTTPFilter.
func (x *instance) ResponseData(_ filter.Stream, b []byte, end bool) filter.Verdict {
	return x.data(&x.half[1], b, end)
}

func (x *instance) data(h *half, b []byte, end bool) filter.Verdict {
	switch {
	case x.script == nil || x.answered:
		return filter.Continue
	case h.held || h.waits == forBody || h.waits == forCall:
		if len(h.body)+len(b) > x.s.BufferLimit() {
			x.answered = true
			x.s.Reply(filter.TooLarge(h.direct))
			return filter.Reply
		}
		h.body, h.end = append(h.body, b...), end
		if end && h.waits == forBody {
			x.bodyEnds(h)
		}
		if x.answered {
			return filter.Reply
		}
		return filter.Stop
	case h.waits == forChunk:
		chunk := &buffer{b: b}
		if x.again(h, func() []lua.LValue { return []lua.LValue{x.state.wrap("buffer", chunk)} }) {
			return filter.Reply
		}
		if end {
			h.end = true
			x.lastChunk(h)
		}
		if chunk.changed {
			x.s.Inject(x, h.direct, chunk.b, end)
			return filter.Stop
		}
	case h.waits == forTrailers && end:
		h.end = true
		x.again(h, func() []lua.LValue { return []lua.LValue{lua.LNil} })
	}
	return filter.Continue
}

// lastChunk ends a script's loop over chunks.
func (x *instance) lastChunk(h *half) {
	if h.waits == forChunk {
		x.again(h, func() []lua.LValue { return []lua.LValue{lua.LNil} })
	}
}

// bodyEnds shows the script the whole body.
func (x *instance) bodyEnds(h *half) {
	h.whole = &buffer{b: h.body}
	if x.again(h, func() []lua.LValue { return []lua.LValue{x.state.wrap("buffer", h.whole)} }) {
		return
	}
	x.release(h)
}

// release lets a held message go, unless its script waits on.
func (x *instance) release(h *half) {
	if h.waits == forBody || h.waits == forCall {
		return
	}
	body := h.body
	if h.whole != nil {
		body = h.whole.b
	}
	held := h.held
	h.held, h.gone, h.body, h.whole = false, true, nil, nil
	if !h.short && (len(body) > 0 || h.end) {
		x.s.Inject(x, h.direct, body, h.end && h.trailers == nil)
	}
	if held {
		x.s.Resume(x, h.direct)
	}
}

// RequestTrailers implements filter.HTTPFilter.
func (x *instance) RequestTrailers(_ filter.Stream, t *filter.Headers) filter.Verdict {
	return x.trailers(&x.half[0], t)
}

// ResponseTrailers implements filter.HTTPFilter.
func (x *instance) ResponseTrailers(_ filter.Stream, t *filter.Headers) filter.Verdict {
	return x.trailers(&x.half[1], t)
}

func (x *instance) trailers(h *half, t *filter.Headers) filter.Verdict {
	if x.script == nil || x.answered {
		return filter.Continue
	}
	h.trailers = t
	switch h.waits {
	case forBody:
		x.bodyEnds(h)
	case forChunk:
		x.lastChunk(h)
	}
	if h.waits == forTrailers && !x.answered {
		x.again(h, func() []lua.LValue { return []lua.LValue{x.state.wrap("headers", &headers{h: t, x: x})} })
	}
	if x.answered {
		return filter.Reply
	}
	return filter.Continue
}

// Done implements filter.HTTPFilter.
func (x *instance) Done(filter.Stream) {
	x.answered = true
	if x.cancel != nil {
		x.cancel()
	}
	if x.state == nil {
		return
	}
	x.state.mu.Lock()
	defer x.state.mu.Unlock()
	for d := range x.half {
		if h := &x.half[d]; h.stop != nil {
			h.stop()
			h.next, h.stop = nil, nil
		}
	}
}

var _ filter.HTTPFilter = (*instance)(nil)
