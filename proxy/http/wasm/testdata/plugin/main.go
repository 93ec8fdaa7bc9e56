// A plug-in for the tests: it does something of everything that the ABI has. What it does follows the path and
// the headers of a request; its configuration is a word that it puts into headers.
package main

import "unsafe"

//go:wasmimport env proxy_log
func hostLog(level uint32, text unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func hostBuffer(kind, start, size uint32, at, length unsafe.Pointer) uint32

//go:wasmimport env proxy_set_buffer_bytes
func hostSetBuffer(kind, start, size uint32, with unsafe.Pointer, length uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func hostHeader(kind uint32, name unsafe.Pointer, n uint32, at, length unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func hostAdd(kind uint32, name unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func hostReplace(kind uint32, name unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func hostRemove(kind uint32, name unsafe.Pointer, n uint32) uint32

//go:wasmimport env proxy_get_property
func hostProperty(path unsafe.Pointer, n uint32, at, length unsafe.Pointer) uint32

//go:wasmimport env proxy_send_local_response
func hostReply(status uint32, details unsafe.Pointer, n uint32, body unsafe.Pointer, m uint32, headers unsafe.Pointer, k uint32, grpc int32) uint32

//go:wasmimport env proxy_http_call
func hostCall(cluster unsafe.Pointer, n uint32, headers unsafe.Pointer, m uint32, body unsafe.Pointer, b uint32, trailers unsafe.Pointer, t, timeout uint32, token unsafe.Pointer) uint32

//go:wasmimport env proxy_continue_stream
func hostContinue(kind uint32) uint32

//go:wasmimport env proxy_get_shared_data
func hostShared(key unsafe.Pointer, n uint32, at, length, cas unsafe.Pointer) uint32

//go:wasmimport env proxy_set_shared_data
func hostSetShared(key unsafe.Pointer, n uint32, value unsafe.Pointer, m, cas uint32) uint32

//go:wasmimport env proxy_define_metric
func hostDefine(kind uint32, name unsafe.Pointer, n uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_increment_metric
func hostIncrement(id uint32, by int64) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func hostTick(ms uint32) uint32

func main() {}

// given are the pieces of memory that the host was handed, until they are taken.
var given = map[uintptr][]byte{}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	b := make([]byte, size)
	p := unsafe.Pointer(unsafe.SliceData(b))
	given[uintptr(p)] = b
	return p
}

func ptr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// taken is what the host has written where allocate has said.
func taken(at uintptr, size uint32) string {
	b := given[at]
	delete(given, at)
	return string(b[:size])
}

func log(s string) { hostLog(2, ptr(s), uint32(len(s))) }

func header(kind uint32, name string) string {
	var at uintptr
	var size uint32
	if hostHeader(kind, ptr(name), uint32(len(name)), unsafe.Pointer(&at), unsafe.Pointer(&size)) != 0 || size == 0 {
		return ""
	}
	return taken(at, size)
}

func property(path string) string {
	var at uintptr
	var size uint32
	if hostProperty(ptr(path), uint32(len(path)), unsafe.Pointer(&at), unsafe.Pointer(&size)) != 0 || size == 0 {
		return ""
	}
	return taken(at, size)
}

func buffer(kind, size uint32) string {
	var at uintptr
	var n uint32
	if size == 0 || hostBuffer(kind, 0, size, unsafe.Pointer(&at), unsafe.Pointer(&n)) != 0 || n == 0 {
		return ""
	}
	return taken(at, n)
}

func replace(kind uint32, name, value string) {
	hostReplace(kind, ptr(name), uint32(len(name)), ptr(value), uint32(len(value)))
}

func remove(kind uint32, name string) { hostRemove(kind, ptr(name), uint32(len(name))) }

// encode is a map of headers: name, value, name, value …
func encode(pairs ...string) string {
	number := func(n int) string { return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) }
	out := number(len(pairs) / 2)
	for _, s := range pairs {
		out += number(len(s))
	}
	for _, s := range pairs {
		out += s + "\x00"
	}
	return out
}

func answer(status uint32, body string, headers ...string) {
	h := encode(headers...)
	hostReply(status, nil, 0, ptr(body), uint32(len(body)), ptr(h), uint32(len(h)), -1)
}

var (
	config   string
	requests uint32
	uppers   = map[uint32]bool{}
)

//go:wasmexport proxy_abi_version_0_2_0
func version() {}

//go:wasmexport proxy_on_vm_start
func vmStart(_, _ uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func configure(_, size uint32) uint32 {
	config = buffer(7, size)
	const name = "requests_seen"
	hostDefine(0, ptr(name), uint32(len(name)), unsafe.Pointer(&requests))
	if config == "refuse" {
		return 0
	}
	if config == "tick" {
		hostTick(10)
	}
	log("configured: " + config)
	return 1
}

//go:wasmexport proxy_on_tick
func tick(_ uint32) {
	const key = "ticks"
	hostSetShared(ptr(key), uint32(len(key)), ptr("yes"), 3, 0)
}

//go:wasmexport proxy_on_context_create
func create(_, _ uint32) {}

//go:wasmexport proxy_on_request_headers
func requestHeaders(id, _, _ uint32) uint32 {
	hostIncrement(requests, 1)
	switch path := header(0, ":path"); path {
	case "/deny":
		answer(403, "denied by the plug-in", "x-denied", config)
		return 1
	case "/trap":
		panic("as asked")
	case "/call", "/fire":
		h := encode(":method", "GET", ":path", "/ask", ":authority", "asked")
		var token uint32
		if hostCall(ptr("auth"), 4, ptr(h), uint32(len(h)), nil, 0, nil, 0, 5000, unsafe.Pointer(&token)) != 0 {
			answer(500, "no call")
			return 1
		}
		if path == "/call" {
			return 1
		}
	case "/shared":
		const key = "ticks"
		var at uintptr
		var size, cas uint32
		if hostShared(ptr(key), uint32(len(key)), unsafe.Pointer(&at), unsafe.Pointer(&size), unsafe.Pointer(&cas)) == 0 && size > 0 {
			replace(0, "x-shared", taken(at, size))
		}
	}
	replace(0, "x-wasm", config)
	replace(0, "x-path", property("request\x00path")+" "+property("request\x00headers\x00x-in"))
	remove(0, "x-remove")
	if header(0, "x-upper") != "" {
		uppers[id] = true
		remove(0, "content-length")
	}
	return 0
}

//go:wasmexport proxy_on_request_body
func requestBody(id, size, end uint32) uint32 {
	if !uppers[id] {
		return 0
	}
	if end == 0 {
		return 1
	}
	b := []byte(buffer(0, size))
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	hostSetBuffer(0, 0, size, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return 0
}

//go:wasmexport proxy_on_response_headers
func responseHeaders(_, _, _ uint32) uint32 {
	hostAdd(2, ptr("x-wasm-response"), 15, ptr(config), uint32(len(config)))
	return 0
}

//go:wasmexport proxy_on_http_call_response
func called(_, _, headers, body, _ uint32) {
	if headers == 0 {
		answer(503, "no answer")
		return
	}
	if header(6, ":status") != "200" {
		answer(401, "not allowed")
		return
	}
	replace(0, "x-auth", buffer(4, body))
	hostContinue(0)
}

//go:wasmexport proxy_on_done
func done(_ uint32) uint32 { return 1 }

//go:wasmexport proxy_on_delete
func del(id uint32) { delete(uppers, id) }
