package wasm

import (
	"context"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// hostFunction is one of the ABI's: what it takes, and what it does. It returns a result of the ABI.
type hostFunction struct {
	params string // 'i': 32 bits, 'I': 64
	do     func(v *vm, s []uint64) uint32
}

// u is an argument.
func u(s []uint64, i int) uint32 { return uint32(s[i]) } //nolint:gosec // the ABI's are 32 bits

// host puts the ABI's functions where modules import them.
func (v *vm) host(ctx context.Context) error {
	b := v.runtime.NewHostModuleBuilder("env")
	for name, f := range hostFunctions() {
		params := make([]api.ValueType, len(f.params))
		for i, p := range f.params {
			if params[i] = api.ValueTypeI32; p == 'I' {
				params[i] = api.ValueTypeI64
			}
		}
		results, do := []api.ValueType{api.ValueTypeI32}, f.do
		b = exported(b, name, params, results, func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = uint64(do(v, stack)) })
	}
	_, err := b.Instantiate(ctx)
	return err
}

func exported(b wazero.HostModuleBuilder, name string, params, results []api.ValueType, f api.GoModuleFunc) wazero.HostModuleBuilder {
	return b.NewFunctionBuilder().WithGoModuleFunction(f, params, results).Export(name)
}

// refuse is a function that is not carried out.
func refuse(*vm, []uint64) uint32 { return unimplemented }

// hostFunctions are those that modules may import, by name.
func hostFunctions() map[string]hostFunction {
	return map[string]hostFunction{
		"proxy_log":                          {"iii", (*vm).hostLog},
		"proxy_get_log_level":                {"i", func(v *vm, s []uint64) uint32 { return v.put(u(s, 0), levelTrace) }},
		"proxy_get_current_time_nanoseconds": {"i", (*vm).hostTime},
		"proxy_set_tick_period_milliseconds": {"i", (*vm).hostTick},
		"proxy_get_status":                   {"iii", (*vm).hostStatus},
		"proxy_set_effective_context":        {"i", (*vm).hostContext},
		"proxy_done":                         {"", func(*vm, []uint64) uint32 { return ok }},
		"proxy_get_configuration":            {"ii", func(v *vm, s []uint64) uint32 { return v.give(v.core.config, u(s, 0), u(s, 1)) }},
		"proxy_continue_stream":              {"i", func(v *vm, s []uint64) uint32 { return v.proceed(u(s, 0)) }},
		"proxy_continue_request":             {"", func(v *vm, _ []uint64) uint32 { return v.proceed(0) }},
		"proxy_continue_response":            {"", func(v *vm, _ []uint64) uint32 { return v.proceed(1) }},
		"proxy_close_stream":                 {"i", refuse},
		"proxy_send_local_response":          {"iiiiiiii", (*vm).hostReply},
		"proxy_clear_route_cache":            {"", (*vm).hostClearRoute},
		"proxy_get_property":                 {"iiii", (*vm).hostProperty},
		"proxy_set_property":                 {"iiii", (*vm).hostSetProperty},
		"proxy_get_header_map_value":         {"iiiii", (*vm).hostHeader},
		"proxy_add_header_map_value":         {"iiiii", func(v *vm, s []uint64) uint32 { return v.setHeader(s, true) }},
		"proxy_replace_header_map_value":     {"iiiii", func(v *vm, s []uint64) uint32 { return v.setHeader(s, false) }},
		"proxy_remove_header_map_value":      {"iii", (*vm).hostRemoveHeader},
		"proxy_get_header_map_pairs":         {"iii", (*vm).hostHeaders},
		"proxy_set_header_map_pairs":         {"iii", (*vm).hostSetHeaders},
		"proxy_get_header_map_size":          {"ii", (*vm).hostHeadersSize},
		"proxy_get_buffer_bytes":             {"iiiii", (*vm).hostBuffer},
		"proxy_set_buffer_bytes":             {"iiiii", (*vm).hostSetBuffer},
		"proxy_get_buffer_status":            {"iii", (*vm).hostBufferStatus},
		"proxy_http_call":                    {"iiiiiiiiii", (*vm).hostCall},
		"proxy_grpc_call":                    {"iiiiiiiiiiii", refuse},
		"proxy_grpc_stream":                  {"iiiiiiiii", refuse},
		"proxy_grpc_send":                    {"iiii", refuse},
		"proxy_grpc_cancel":                  {"i", refuse},
		"proxy_grpc_close":                   {"i", refuse},
		"proxy_get_shared_data":              {"iiiii", (*vm).hostShared},
		"proxy_set_shared_data":              {"iiiii", (*vm).hostSetShared},
		"proxy_register_shared_queue":        {"iii", (*vm).hostRegisterQueue},
		"proxy_resolve_shared_queue":         {"iiiii", (*vm).hostResolveQueue},
		"proxy_enqueue_shared_queue":         {"iii", (*vm).hostEnqueue},
		"proxy_dequeue_shared_queue":         {"iii", (*vm).hostDequeue},
		"proxy_define_metric":                {"iiii", (*vm).hostDefineMetric},
		"proxy_increment_metric":             {"iI", func(v *vm, s []uint64) uint32 { return v.core.metrics.add(u(s, 0), int64(s[1])) }}, //nolint:gosec // signed by the ABI
		"proxy_record_metric":                {"iI", func(v *vm, s []uint64) uint32 { return v.core.metrics.record(u(s, 0), s[1]) }},
		"proxy_get_metric":                   {"ii", (*vm).hostMetric},
		"proxy_call_foreign_function":        {"iiiiii", (*vm).hostForeign},
	}
}

// put writes a number for the module.
func (v *vm) put(at, value uint32) uint32 {
	if !v.mem.WriteUint32Le(at, value) {
		return badMemory
	}
	return ok
}

func (v *vm) hostLog(s []uint64) uint32 {
	text, valid := v.text(u(s, 1), u(s, 2))
	if !valid {
		return badMemory
	}
	v.core.say(u(s, 0), text)
	return ok
}

func (v *vm) hostTime(s []uint64) uint32 {
	if !v.mem.WriteUint64Le(u(s, 0), uint64(time.Now().UnixNano())) { //nolint:gosec // after 1970
		return badMemory
	}
	return ok
}

func (v *vm) hostTick(s []uint64) uint32 {
	v.tickEvery(time.Duration(u(s, 0)) * time.Millisecond)
	return ok
}

// hostStatus is for gRPC calls, of which there are none.
func (v *vm) hostStatus(s []uint64) uint32 {
	if r := v.put(u(s, 0), 0); r != ok {
		return r
	}
	return v.give("", u(s, 1), u(s, 2))
}

func (v *vm) hostContext(s []uint64) uint32 {
	id := u(s, 0)
	if id != rootContext && v.streams[id] == nil {
		return badArgument
	}
	v.another = id
	return ok
}

// subject is the stream that the module speaks of: its own, or the one that it has chosen; here tells whether this is
// the one whose thread of execution it runs on.
func (v *vm) subject() (x *instance, here bool) {
	if v.another == 0 {
		return v.current, true
	}
	x = v.streams[v.another]
	return x, x == v.current
}

func (v *vm) hostClearRoute([]uint64) uint32 {
	x, here := v.subject()
	if x == nil || !here {
		return badArgument
	}
	x.reroute = true
	return ok
}

func (v *vm) hostForeign(s []uint64) uint32 {
	name, valid := v.text(u(s, 0), u(s, 1))
	if !valid {
		return badMemory
	}
	if name != "clear_route_cache" {
		return notFound
	}
	if r := v.give("", u(s, 4), u(s, 5)); r != ok {
		return r
	}
	return v.hostClearRoute(nil)
}

func (v *vm) hostReply(s []uint64) uint32 {
	x, here := v.subject()
	if x == nil {
		return badArgument
	}
	details, a := v.text(u(s, 1), u(s, 2))
	body, b := v.text(u(s, 3), u(s, 4))
	raw, c := v.mem.Read(u(s, 5), u(s, 6))
	if !a || !b || !c {
		return badMemory
	}
	header, valid := decode(raw)
	if !valid {
		return serialization
	}
	r := reply(int(u(s, 0)), int(int32(u(s, 7))), body, details, header) //nolint:gosec // -1 is no status
	if here {
		x.reply = r
	} else {
		x.s.Post(func() { x.s.Reply(*r) })
	}
	return ok
}

// proceed lets a stream that waits go on.
func (v *vm) proceed(direction uint32) uint32 {
	x, here := v.subject()
	switch {
	case x == nil || direction > 1:
		return badArgument
	case here:
		x.half[direction].resume = true
	default:
		x.s.Post(func() {
			x.half[direction].resume = true
			x.after(x.s)
		})
	}
	return ok
}
