package lua

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/weftmesh/weft/proxy/filter"
)

// maxStates bounds the states of a script: each has globals of its own.
const maxStates = 4

// host is what scripts see of the proxy.
type host struct {
	name   string // of the filter
	calls  filter.Caller
	log    *slog.Logger
	errors *filter.Counter
}

// script is compiled code, and the states that run it.
type script struct {
	host   *host
	proto  *lua.FunctionProto
	states [maxStates]state
	next   atomic.Uint32
	// request and response tell whether it has the functions.
	request, response bool
}

// state is one Lua state. Everything in it is guarded by mu.
type state struct {
	mu sync.Mutex
	l  *lua.LState // nil: not made yet
	// onRequest and onResponse are the script's functions, or nil.
	onRequest, onResponse *lua.LFunction
	types                 map[string]*lua.LTable
}

// newScript compiles and runs a script's own statements.
func newScript(code string, h *host) (*script, error) {
	chunk, err := parse.Parse(strings.NewReader(code), "script")
	if err != nil {
		return nil, fmt.Errorf("is no Lua: %w", err)
	}
	proto, err := lua.Compile(chunk, "script")
	if err != nil {
		return nil, fmt.Errorf("is no Lua: %w", err)
	}
	s := &script{host: h, proto: proto}
	st := &s.states[0]
	if err := st.begin(s); err != nil {
		return nil, fmt.Errorf("fails: %w", err)
	}
	s.request, s.response = st.onRequest != nil, st.onResponse != nil
	return s, nil
}

// pick is a state for a new stream.
func (s *script) pick() *state { return &s.states[s.next.Add(1)%maxStates] }

// begin makes the state, unless it is there. It is called with mu held, or before anybody else knows of it.
func (st *state) begin(s *script) error {
	if st.l != nil {
		return nil
	}
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
		lua.CoroutineLibName: lua.OpenCoroutine, lua.OsLibName: lua.OpenOs,
	} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile", "require", "module"} {
		l.SetGlobal(name, lua.LNil)
	}
	if t, ok := l.GetGlobal(lua.OsLibName).(*lua.LTable); ok {
		for _, name := range []string{"execute", "exit", "remove", "rename", "setenv", "setlocale", "tmpname"} {
			t.RawSetString(name, lua.LNil)
		}
	}
	st.define(l, s.host)
	if err := l.DoString(prelude); err != nil {
		return err
	}
	l.Push(l.NewFunctionFromProto(s.proto))
	if err := l.PCall(0, 0, nil); err != nil {
		return err
	}
	st.onRequest, _ = l.GetGlobal("envoy_on_request").(*lua.LFunction)
	st.onResponse, _ = l.GetGlobal("envoy_on_response").(*lua.LFunction)
	st.l = l
	return nil
}

// prelude has pairs look at __pairs, which LuaJIT in Envoy's form does.
const prelude = `
local plain = pairs
function pairs(o)
  if type(o) == "userdata" then
    local m = getmetatable(o)
    if m and m.__pairs then return m.__pairs(o) end
  end
  return plain(o)
end`
