package wasm

import (
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// maxCalls bounds the calls that one machine has under way.
const maxCalls = 1024

// hostCall begins an HTTP call to a cluster. Its answer comes to proxy_on_http_call_response of the same context.
func (v *vm) hostCall(s []uint64) uint32 {
	cluster, a := v.text(u(s, 0), u(s, 1))
	raw, b := v.mem.Read(u(s, 2), u(s, 3))
	body, c := v.mem.Read(u(s, 4), u(s, 5))
	if !a || !b || !c {
		return badMemory
	}
	list, good := decode(raw)
	if !good {
		return serialization
	}
	h := &filter.Headers{Scheme: "http"}
	for _, f := range list {
		if !valid(f.Name, f.Value) {
			return badArgument
		}
		if f.Name[0] == ':' {
			h.Set(f.Name, f.Value)
		} else {
			h.Add(f.Name, f.Value)
		}
	}
	x, _ := v.subject()
	if h.Method == "" || h.Path == "" || h.Authority == "" || v.core.calls == nil || len(v.calls) >= maxCalls {
		return badArgument
	}
	if v.core.knows != nil && !v.core.knows(cluster) {
		return badArgument
	}
	v.token++
	token := v.token
	v.calls[token] = &call{x: x}
	ask := &filter.Call{Cluster: cluster, Header: h, Body: append([]byte(nil), body...), Timeout: time.Duration(u(s, 8)) * time.Millisecond}
	cancel := v.core.calls.Call(ask, func(answer *filter.Answer, err error) {
		if err != nil {
			answer = nil // no fields: so plug-ins know
		}
		if x != nil {
			x.s.Post(func() { v.answered(token, answer) })
			return
		}
		go v.answered(token, answer) // the machine may be in the midst of making the call
	})
	if c := v.calls[token]; c != nil {
		c.cancel = cancel
	}
	return v.put(u(s, 9), token)
}

// answered tells the plug-in of an answer; nil: there is none.
func (v *vm) answered(token uint32, answer *filter.Answer) {
	v.mu.Lock()
	c := v.calls[token]
	if c == nil || v.dead {
		v.mu.Unlock()
		return
	}
	delete(v.calls, token)
	id := uint32(rootContext)
	if c.x != nil {
		id = c.x.id
	}
	var headers, body, trailers int
	if answer != nil {
		headers, body, trailers = count(answer.Header), len(answer.Body), count(answer.Trailer)
	}
	v.current, v.answer = c.x, answer
	_, err := v.run(v.fn.callResponse, uint64(id), uint64(token), uint64(headers), uint64(body), uint64(trailers)) //nolint:gosec // counts
	v.current, v.answer = nil, nil
	v.mu.Unlock()
	if c.x == nil {
		return
	}
	if err != nil {
		c.x.open = c.x.handle.core.failOpen
		c.x.unblock()
		return
	}
	c.x.after(c.x.s)
}

// unblock lets go what a plug-in holds that has failed, or ends the stream.
func (x *instance) unblock() {
	if x.broken() == filter.Reply {
		return
	}
	for d := range x.half {
		h := &x.half[d]
		waits := h.headersWait || h.trailersWait
		h.headersWait, h.trailersWait = false, false
		if len(h.held) > 0 || h.dataWait {
			x.pass(d, h, h.held, h.end)
		}
		if waits {
			x.s.Resume(x, filter.Direction(d)) //nolint:gosec // 0 or 1
		}
	}
}

// hostProperty looks up an attribute; its path has zeros between its parts.
func (v *vm) hostProperty(s []uint64) uint32 {
	path, a := v.text(u(s, 0), u(s, 1))
	if !a {
		return badMemory
	}
	value, there := v.property(strings.Split(strings.TrimSuffix(path, "\x00"), "\x00"))
	if !there {
		_ = v.give("", u(s, 2), u(s, 3))
		return notFound
	}
	return v.give(value, u(s, 2), u(s, 3))
}

// hostSetProperty leaves a string in the request's filter state, under Envoy's name for what plug-ins leave.
func (v *vm) hostSetProperty(s []uint64) uint32 {
	path, a := v.text(u(s, 0), u(s, 1))
	value, b := v.text(u(s, 2), u(s, 3))
	if !a || !b {
		return badMemory
	}
	x, here := v.subject()
	if x == nil || !here {
		return badArgument
	}
	i := x.s.Info()
	if i.FilterState == nil {
		i.FilterState = map[string]any{}
	}
	i.FilterState["wasm."+strings.ReplaceAll(strings.TrimSuffix(path, "\x00"), "\x00", ".")] = value
	return ok
}
