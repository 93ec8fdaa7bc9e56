package lua

import (
	"sort"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/weftmesh/weft/proxy/filter"
)

// headers is a head, or trailers, as scripts see it.
type headers struct {
	h *filter.Headers
	x *instance
	// gone, when it points to true: they can be changed no more.
	gone    *bool
	request bool
}

// change is for what writes.
func (h *headers) change(l *lua.LState) *filter.Headers {
	if h.gone != nil && *h.gone {
		l.RaiseError("header map can no longer be modified")
	}
	h.x.reroute = h.x.reroute || h.request
	return h.h
}

// pseudo are the fields that come first.
var pseudo = [...]string{":authority", ":path", ":method", ":scheme", ":status"}

func (h *headers) all() (out []filter.Field) {
	for _, name := range pseudo {
		if v, ok := h.h.Lookup(name); ok {
			out = append(out, filter.Field{Name: name, Value: v})
		}
	}
	for i := range h.h.Len() {
		out = append(out, h.h.At(i))
	}
	return out
}

func (st *state) headerMethods() map[string]lua.LGFunction {
	name := func(l *lua.LState) string {
		n := strings.ToLower(l.CheckString(2))
		if n == "" {
			l.ArgError(2, "is empty")
		}
		return n
	}
	write := func(l *lua.LState, do func(h *filter.Headers, name, value string)) int {
		h, n, v := self[*headers](l), name(l), l.CheckString(3)
		if !valid(n, v) {
			l.RaiseError("%q is not a field that can be sent", n)
		}
		do(h.change(l), strings.Clone(n), strings.Clone(v))
		return 0
	}
	return map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			v, ok := self[*headers](l).h.Joined(name(l))
			return optional(l, v, ok)
		},
		"getAtIndex": func(l *lua.LState) int {
			h, n, i := self[*headers](l), name(l), l.CheckInt(3)
			for v := range h.h.Values(n) {
				if i == 0 {
					return optional(l, v, true)
				}
				i--
			}
			return optional(l, "", false)
		},
		"getNumValues": func(l *lua.LState) int {
			h, n, count := self[*headers](l), name(l), 0
			for range h.h.Values(n) {
				count++
			}
			l.Push(lua.LNumber(count))
			return 1
		},
		"add": func(l *lua.LState) int {
			return write(l, func(h *filter.Headers, n, v string) {
				if n[0] == ':' {
					h.Set(n, v)
				} else {
					h.Add(n, v)
				}
			})
		},
		"replace": func(l *lua.LState) int {
			return write(l, func(h *filter.Headers, n, v string) { h.Set(n, v) })
		},
		"remove": func(l *lua.LState) int {
			h, n := self[*headers](l), name(l)
			h.change(l).Del(n)
			return 0
		},
		"setHttp1ReasonPhrase": func(*lua.LState) int { return 0 }, // HTTP/1.1 clients pass it over
		"__pairs": func(l *lua.LState) int {
			list := self[*headers](l).all()
			i := 0
			l.Push(l.NewFunction(func(l *lua.LState) int {
				if i == len(list) {
					l.Push(lua.LNil)
					return 1
				}
				l.Push(lua.LString(list[i].Name))
				l.Push(lua.LString(list[i].Value))
				i++
				return 2
			}))
			return 1
		},
	}
}

// optional is a string, or nil.
func optional(l *lua.LState, v string, ok bool) int {
	if ok {
		l.Push(lua.LString(strings.Clone(v)))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

var bufferMethods = map[string]lua.LGFunction{
	"length": func(l *lua.LState) int {
		l.Push(lua.LNumber(len(self[*buffer](l).b)))
		return 1
	},
	"getBytes": func(l *lua.LState) int {
		b, from, n := self[*buffer](l).b, l.CheckInt(2), l.CheckInt(3)
		if from < 0 || n < 0 || from+n > len(b) || from+n < from {
			l.RaiseError("index/length must be >= 0 and (index + length) must be <= buffer size")
		}
		l.Push(lua.LString(b[from : from+n]))
		return 1
	},
	"setBytes": func(l *lua.LState) int {
		b := self[*buffer](l)
		b.b, b.changed = []byte(l.CheckString(2)), true
		l.Push(lua.LNumber(len(b.b)))
		return 1
	},
}

// metadataMethods are of a map, whose keys are strings.
func (st *state) metadataMethods() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			l.Push(toLua(l, self[map[string]any](l)[l.CheckString(2)]))
			return 1
		},
		"__pairs": func(l *lua.LState) int { return pairs(l, self[map[string]any](l)) },
	}
}

func pairs(l *lua.LState, m map[string]any) int {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	i := 0
	l.Push(l.NewFunction(func(l *lua.LState) int {
		if i == len(keys) {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LString(keys[i]))
		l.Push(toLua(l, m[keys[i]]))
		i++
		return 2
	}))
	return 1
}

// dynamic is the dynamic metadata of a stream.
type dynamic struct{ i *filter.Info }

func (st *state) infoMethods() map[string]lua.LGFunction {
	text := func(f func(i *filter.Info) string) lua.LGFunction {
		return func(l *lua.LState) int {
			l.Push(lua.LString(f(self[*filter.Info](l))))
			return 1
		}
	}
	t := map[string]lua.LGFunction{
		"protocol":  text(func(i *filter.Info) string { return i.Protocol }),
		"routeName": text(func(i *filter.Info) string { return i.RouteName }),
		"downstreamLocalAddress": text(func(i *filter.Info) string {
			if i.Conn == nil {
				return ""
			}
			return i.Conn.Local.String()
		}),
		"downstreamRemoteAddress": text(func(i *filter.Info) string { return i.Remote.String() }),
		"downstreamDirectRemoteAddress": text(func(i *filter.Info) string {
			if i.Conn == nil {
				return ""
			}
			return i.Conn.Remote.String()
		}),
		"requestedServerName": text(func(i *filter.Info) string {
			if i.Conn == nil {
				return ""
			}
			return i.Conn.SNI
		}),
		"dynamicMetadata": func(l *lua.LState) int {
			u := &lua.LUserData{Value: &dynamic{self[*filter.Info](l)}, Metatable: st.types["dynamic"]}
			l.Push(u)
			return 1
		},
		"downstreamSslConnection": func(l *lua.LState) int { l.Push(lua.LNil); return 1 },
	}
	return t
}

var dynamicMethods = map[string]lua.LGFunction{
	"get": func(l *lua.LState) int {
		l.Push(toLua(l, self[*dynamic](l).i.Metadata[l.CheckString(2)]))
		return 1
	},
	"set": func(l *lua.LState) int {
		d, space, key, value := self[*dynamic](l), l.CheckString(2), l.CheckString(3), fromLua(l.Get(4), 0)
		if d.i.Metadata == nil {
			d.i.Metadata = map[string]any{}
		}
		next := map[string]any{key: value}
		for k, v := range anyMap(d.i.Metadata[space]) {
			if k != key {
				next[k] = v
			}
		}
		d.i.Metadata[space] = next
		return 0
	},
	"__pairs": func(l *lua.LState) int { return pairs(l, self[*dynamic](l).i.Metadata) },
}

// toLua is a value of metadata as scripts see it.
func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case int64:
		return lua.LNumber(v)
	case int:
		return lua.LNumber(v)
	case map[string]any:
		t := l.NewTable()
		for k, x := range v {
			t.RawSetString(k, toLua(l, x))
		}
		return t
	case []any:
		t := l.NewTable()
		for _, x := range v {
			t.Append(toLua(l, x))
		}
		return t
	}
	return lua.LNil
}

// maxDepth bounds how deep tables are that become metadata: they may contain themselves.
const maxDepth = 32

func fromLua(v lua.LValue, depth int) any {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LBool:
		return bool(v)
	case lua.LNumber:
		return float64(v)
	case *lua.LTable:
		if depth > maxDepth {
			return nil
		}
		if n := v.Len(); n > 0 {
			list := make([]any, n)
			for i := range list {
				list[i] = fromLua(v.RawGetInt(i+1), depth+1)
			}
			return list
		}
		m := map[string]any{}
		v.ForEach(func(k, x lua.LValue) { m[lua.LVAsString(k)] = fromLua(x, depth+1) })
		return m
	}
	return nil
}
