package lua

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/weftmesh/weft/proxy/filter"
)

// handle is what a script's function is given.
type handle struct {
	x *instance
	h *half
}

// wrap is a Go value as scripts hold it.
func (st *state) wrap(kind string, v any) lua.LValue {
	return &lua.LUserData{Value: v, Metatable: st.types[kind]}
}

// self is the receiver of a method.
func self[T any](l *lua.LState) T {
	if u, ok := l.CheckAny(1).(*lua.LUserData); ok {
		if v, ok := u.Value.(T); ok {
			return v
		}
	}
	l.ArgError(1, "is not what the method is of: write handle:method(), with a colon")
	panic("unreachable")
}

// define makes the types that scripts see.
func (st *state) define(l *lua.LState, h *host) {
	st.types = map[string]*lua.LTable{}
	for name, methods := range map[string]map[string]lua.LGFunction{
		"handle": st.handleMethods(h), "headers": st.headerMethods(), "buffer": bufferMethods, "metadata": st.metadataMethods(),
		"info": st.infoMethods(), "dynamic": dynamicMethods, "connection": {"ssl": func(l *lua.LState) int { l.Push(lua.LNil); return 1 }},
	} {
		t := l.NewTable()
		t.RawSetString("__index", l.SetFuncs(l.NewTable(), methods))
		if pairs := methods["__pairs"]; pairs != nil {
			t.RawSetString("__pairs", l.NewFunction(pairs))
		}
		if length := methods["length"]; length != nil {
			t.RawSetString("__len", l.NewFunction(length))
		}
		st.types[name] = t
	}
}

func (st *state) handleMethods(h *host) map[string]lua.LGFunction {
	m := map[string]lua.LGFunction{
		"headers": func(l *lua.LState) int {
			c := self[*handle](l)
			l.Push(st.wrap("headers", &headers{h: c.h.head, x: c.x, gone: &c.h.gone, request: c.h.direct == filter.ToUpstream}))
			return 1
		},
		"body":       body,
		"bodyChunks": bodyChunks,
		"trailers":   func(l *lua.LState) int { return trailers(l, st) },
		"respond":    respond,
		"httpCall":   func(l *lua.LState) int { return httpCall(l, h) },
		"metadata": func(l *lua.LState) int {
			c := self[*handle](l)
			l.Push(st.wrap("metadata", anyMap(c.x.s.Info().RouteMetadata[h.name])))
			return 1
		},
		"filterContext":   func(l *lua.LState) int { c := self[*handle](l); l.Push(st.wrap("metadata", c.x.context)); return 1 },
		"streamInfo":      func(l *lua.LState) int { c := self[*handle](l); l.Push(st.wrap("info", c.x.s.Info())); return 1 },
		"connection":      func(l *lua.LState) int { c := self[*handle](l); l.Push(st.wrap("connection", c)); return 1 },
		"clearRouteCache": func(l *lua.LState) int { self[*handle](l).x.reroute = true; return 0 },
		"base64Escape": func(l *lua.LState) int {
			l.Push(lua.LString(base64.StdEncoding.EncodeToString([]byte(l.CheckString(2)))))
			return 1
		},
		"timestamp":       timestamp,
		"timestampString": func(l *lua.LState) int { l.Push(lua.LString(strconv.FormatInt(time.Now().UnixMilli(), 10))); return 1 },
	}
	for name, say := range map[string]func(string, ...any){
		"logTrace": h.log.Debug, "logDebug": h.log.Debug, "logInfo": h.log.Info, "logWarn": h.log.Warn, "logErr": h.log.Error, "logCritical": h.log.Error,
	} {
		m[name] = func(l *lua.LState) int {
			self[*handle](l)
			say(l.CheckString(2), "filter", h.name)
			return 0
		}
	}
	return m
}

func anyMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// timestamp is the time in milliseconds; a number as Lua has it holds these exactly.
func timestamp(l *lua.LState) int {
	l.Push(lua.LNumber(time.Now().UnixMilli()))
	return 1
}

// body is the whole body, for which the script waits; nil: there is none.
func body(l *lua.LState) int {
	c := self[*handle](l)
	switch {
	case c.h.whole != nil:
		l.Push(c.x.state.wrap("buffer", c.h.whole))
		return 1
	case c.h.gone:
		l.RaiseError("cannot call body() after body streaming has started")
	case c.h.short:
		if lua.LVAsBool(l.Get(2)) {
			c.h.whole = &buffer{}
			l.Push(c.x.state.wrap("buffer", c.h.whole))
		} else {
			l.Push(lua.LNil)
		}
		return 1
	case c.h.end: // it came while the script waited for something else
		c.h.whole = &buffer{b: c.h.body}
		l.Push(c.x.state.wrap("buffer", c.h.whole))
		return 1
	}
	return c.h.wait(l, forBody)
}

// bodyChunks is an iterator over the pieces of the body as they come; the head goes on meanwhile.
func bodyChunks(l *lua.LState) int {
	c := self[*handle](l)
	l.Push(l.NewFunction(func(l *lua.LState) int {
		if c.h.end {
			l.Push(lua.LNil)
			return 1
		}
		return c.h.wait(l, forChunk)
	}))
	return 1
}

// trailers waits for the end of the message; nil: it has none.
func trailers(l *lua.LState, st *state) int {
	c := self[*handle](l)
	switch {
	case c.h.trailers != nil:
		l.Push(st.wrap("headers", &headers{h: c.h.trailers, x: c.x}))
		return 1
	case c.h.end:
		l.Push(lua.LNil)
		return 1
	}
	return c.h.wait(l, forTrailers)
}

// respond answers the request; the script ends there.
func respond(l *lua.LState) int {
	c := self[*handle](l)
	if c.h.direct != filter.ToUpstream {
		l.RaiseError("respond not currently supported in the response path")
	}
	r := &filter.LocalReply{GRPCStatus: -1, Body: l.OptString(3, ""), Details: "lua_response"}
	for _, f := range fieldsOf(l, l.CheckTable(2)) {
		if f.Name == ":status" {
			r.Status, _ = strconv.Atoi(f.Value)
		} else if f.Name[0] != ':' {
			r.Header = append(r.Header, f)
		}
	}
	if r.Status < 200 || r.Status > 599 {
		l.RaiseError(":status must be between 200-599")
	}
	c.x.reply = r
	l.RaiseError("the script ends with its answer")
	return 0
}

// fieldsOf are the fields of a table: a value that is a table stands for several.
func fieldsOf(l *lua.LState, t *lua.LTable) (out []filter.Field) {
	t.ForEach(func(k, v lua.LValue) {
		name := strings.ToLower(lua.LVAsString(k))
		add := func(v lua.LValue) {
			value := lua.LVAsString(v)
			if !valid(name, value) {
				l.RaiseError("%q is not a field that can be sent", name)
			}
			out = append(out, filter.Field{Name: name, Value: value})
		}
		if list, ok := v.(*lua.LTable); ok {
			list.ForEach(func(_, v lua.LValue) { add(v) })
			return
		}
		add(v)
	})
	return out
}

// httpCall asks a cluster. The script waits for the answer, unless it says that it does not.
func httpCall(l *lua.LState, host *host) int {
	c := self[*handle](l)
	ask := &filter.Call{Cluster: l.CheckString(2), Header: &filter.Headers{Scheme: "http"}, Timeout: time.Duration(lua.LVAsNumber(l.Get(5))) * time.Millisecond}
	for _, f := range fieldsOf(l, l.CheckTable(3)) {
		if f.Name[0] == ':' {
			ask.Header.Set(f.Name, f.Value)
		} else {
			ask.Header.Add(f.Name, f.Value)
		}
	}
	if b := l.Get(4); b != lua.LNil {
		ask.Body = []byte(lua.LVAsString(b))
		ask.Header.Set("content-length", strconv.Itoa(len(ask.Body)))
	}
	if ask.Header.Method == "" || ask.Header.Path == "" || ask.Header.Authority == "" {
		l.RaiseError("http call headers must include ':path', ':method', and ':authority'")
	}
	if host.calls == nil {
		l.RaiseError("http calls cannot be made here")
	}
	if detached(l.Get(6)) {
		host.calls.Call(ask, func(*filter.Answer, error) {})
		return 0
	}
	x, h := c.x, c.h
	x.cancel = host.calls.Call(ask, func(a *filter.Answer, err error) { x.s.Post(func() { x.called(h, a, err) }) })
	return h.wait(l, forCall)
}

func detached(v lua.LValue) bool {
	if t, ok := v.(*lua.LTable); ok {
		return lua.LVAsBool(t.RawGetString("asynchronous"))
	}
	return lua.LVAsBool(v)
}

// called goes on with an answer; one that did not come is a 503, as Envoy has it.
func (x *instance) called(h *half, a *filter.Answer, err error) {
	if x.answered || h.next == nil || h.waits != forCall {
		return
	}
	x.cancel = nil
	answered := x.again(h, func() []lua.LValue {
		t := x.state.l.NewTable()
		if err != nil {
			t.RawSetString(":status", lua.LString("503"))
			return []lua.LValue{t, lua.LString("upstream connect error or disconnect/reset before headers")}
		}
		t.RawSetString(":status", lua.LString(strconv.Itoa(a.Header.Status)))
		for i := range a.Header.Len() {
			f := a.Header.At(i)
			if v, ok := a.Header.Joined(f.Name); ok {
				t.RawSetString(f.Name, lua.LString(v))
			}
		}
		if a.Body == nil {
			return []lua.LValue{t, lua.LNil}
		}
		return []lua.LValue{t, lua.LString(a.Body)}
	})
	if answered {
		return
	}
	if h.waits == forBody && h.end {
		x.bodyEnds(h)
		return
	}
	x.release(h)
}

// valid tells whether a field can be sent: no script may split a head.
func valid(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, " \r\n\x00") && !strings.Contains(name[1:], ":") && !strings.ContainsAny(value, "\r\n\x00")
}
