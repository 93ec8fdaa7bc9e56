package wasm

import (
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// headers is a map of the ABI's; nil: there is none now. Only those of the stream at hand can be changed.
func (v *vm) headers(kind uint32) *filter.Headers {
	switch kind {
	case callHeaders:
		if v.answer != nil {
			return v.answer.Header
		}
		return nil
	case callTrailers:
		if v.answer != nil {
			return v.answer.Trailer
		}
		return nil
	}
	x, here := v.subject()
	if x == nil || !here {
		return nil
	}
	switch kind {
	case requestHeaders:
		return x.s.Request()
	case responseHeaders:
		return x.s.Response()
	case requestTrailers:
		return x.half[0].trailers
	case responseTrailers:
		return x.half[1].trailers
	}
	return nil
}

// changed notes that a map of the request is another.
func (v *vm) changed(kind uint32) {
	if x := v.current; x != nil && kind == requestHeaders {
		x.reroute = true
	}
}

func (v *vm) hostHeader(s []uint64) uint32 {
	name, valid := v.mem.Read(u(s, 1), u(s, 2))
	if !valid {
		return badMemory
	}
	h := v.headers(u(s, 0))
	if h == nil {
		return notFound
	}
	value, there := joined(h, name)
	if !there {
		_ = v.give("", u(s, 3), u(s, 4))
		return notFound
	}
	return v.give(value, u(s, 3), u(s, 4))
}

// joined is a field's value, without copying a name that is in lower case.
func joined(h *filter.Headers, name []byte) (string, bool) {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			return h.Joined(strings.ToLower(string(name)))
		}
	}
	if len(name) == 0 {
		return "", false
	}
	return h.Joined(string(name))
}

// setHeader adds or replaces a field.
func (v *vm) setHeader(s []uint64, add bool) uint32 {
	name, a := v.text(u(s, 1), u(s, 2))
	value, b := v.text(u(s, 3), u(s, 4))
	if !a || !b {
		return badMemory
	}
	h := v.headers(u(s, 0))
	if h == nil || !valid(name, value) {
		return badArgument
	}
	if name = strings.ToLower(name); add && name[0] != ':' {
		h.Add(name, value)
	} else {
		h.Set(name, value)
	}
	v.changed(u(s, 0))
	return ok
}

// valid tells whether a field can be sent: no plug-in may split a head.
func valid(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, " \r\n\x00") && !strings.Contains(name[1:], ":") && !strings.ContainsAny(value, "\r\n\x00")
}

func (v *vm) hostRemoveHeader(s []uint64) uint32 {
	name, ok1 := v.text(u(s, 1), u(s, 2))
	if !ok1 {
		return badMemory
	}
	h := v.headers(u(s, 0))
	if h == nil {
		return badArgument
	}
	h.Del(strings.ToLower(name))
	v.changed(u(s, 0))
	return ok
}

func (v *vm) hostHeaders(s []uint64) uint32 {
	h := v.headers(u(s, 0))
	if h == nil {
		_ = v.give("", u(s, 1), u(s, 2))
		return notFound
	}
	return v.give(string(encode(count(h), fields(h))), u(s, 1), u(s, 2))
}

func (v *vm) hostSetHeaders(s []uint64) uint32 {
	raw, a := v.mem.Read(u(s, 1), u(s, 2))
	if !a {
		return badMemory
	}
	list, good := decode(raw)
	if !good {
		return serialization
	}
	h := v.headers(u(s, 0))
	if h == nil {
		return badArgument
	}
	for _, f := range list {
		if !valid(f.Name, f.Value) {
			return badArgument
		}
	}
	for h.Len() > 0 {
		h.Del(h.At(0).Name)
	}
	for _, f := range list {
		if f.Name[0] == ':' {
			h.Set(f.Name, f.Value)
		} else {
			h.Add(f.Name, f.Value)
		}
	}
	v.changed(u(s, 0))
	return ok
}

func (v *vm) hostHeadersSize(s []uint64) uint32 {
	h := v.headers(u(s, 0))
	if h == nil {
		return notFound
	}
	n := 0
	for name, value := range fields(h) {
		n += len(name) + len(value)
	}
	return v.put(u(s, 1), uint32(n)) //nolint:gosec // bounded by a head's size
}

// buffer is one of the ABI's; there is false when there is none now.
func (v *vm) buffer(kind uint32) (b []byte, there bool) {
	switch kind {
	case vmConfig:
		return []byte(v.core.vmConfig), true
	case pluginConfig:
		return []byte(v.core.config), true
	case callBody:
		if v.answer == nil {
			return nil, false
		}
		return v.answer.Body, true
	case requestBody, responseBody:
		x, here := v.subject()
		if x == nil || !here {
			return nil, false
		}
		return x.half[kind].seen, true
	}
	return nil, false
}

func (v *vm) hostBuffer(s []uint64) uint32 {
	b, there := v.buffer(u(s, 0))
	if !there {
		_ = v.give("", u(s, 3), u(s, 4))
		return notFound
	}
	start, size := uint64(u(s, 1)), uint64(u(s, 2))
	if start > uint64(len(b)) {
		return badArgument
	}
	return v.give(string(b[start:min(start+size, uint64(len(b)))]), u(s, 3), u(s, 4))
}

// hostSetBuffer replaces a part of a body: what is before it, after it (beyond the end), or some bytes of it.
func (v *vm) hostSetBuffer(s []uint64) uint32 {
	kind := u(s, 0)
	with, a := v.mem.Read(u(s, 3), u(s, 4))
	if !a {
		return badMemory
	}
	b, there := v.buffer(kind)
	if !there || kind > responseBody {
		return badArgument
	}
	start := min(uint64(u(s, 1)), uint64(len(b)))
	end := min(start+uint64(u(s, 2)), uint64(len(b)))
	out := make([]byte, 0, len(b)+len(with))
	out = append(append(append(out, b[:start]...), with...), b[end:]...)
	h := &v.current.half[kind]
	h.seen, h.other = out, true
	return ok
}

func (v *vm) hostBufferStatus(s []uint64) uint32 {
	b, there := v.buffer(u(s, 0))
	if !there {
		return notFound
	}
	if r := v.put(u(s, 1), uint32(len(b))); r != ok { //nolint:gosec // bounded
		return r
	}
	return v.put(u(s, 2), 0)
}
