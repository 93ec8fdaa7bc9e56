package guest

import "unsafe"

// in is where the host puts what it passes.
var in []byte

//go:wasmexport weft_codec_abi_1
func exportABI() {}

//go:wasmexport weft_codec_describe
func exportDescribe() uint32 { return describe() }

//go:wasmexport weft_codec_buffer
func exportBuffer(size uint32) unsafe.Pointer {
	if int(size) > cap(in) {
		in = make([]byte, size)
	}
	in = in[:cap(in)]
	return unsafe.Pointer(unsafe.SliceData(in))
}

//go:wasmexport weft_codec_decode
func exportDecode(size, from uint32) uint64 { return result(decode(in[:size], from != 0)) }

//go:wasmexport weft_codec_encode
func exportEncode(size, from uint32, id uint64) uint64 {
	return result(encode(in[:size], from != 0, id))
}

//go:wasmexport weft_codec_answer
func exportAnswer(size, kind uint32, id, tag uint64, status uint32) uint64 {
	return result(answer(in[:size], Kind(kind), id, tag, int(status))) //nolint:gosec // the host's kinds are those here
}

//go:wasmexport weft_codec_ping
func exportPing() uint64 {
	if p, ok := served.Codec.(Pinger); ok {
		return result(p.Ping(out[:0]))
	}
	return 0
}

//go:wasmexport weft_codec_drain
func exportDrain() uint64 {
	if d, ok := served.Codec.(Drainer); ok {
		return result(d.Drain(out[:0]))
	}
	return 0
}

//go:wasmexport weft_codec_reset
func exportReset(id uint64) uint64 {
	if r, ok := served.Codec.(Resetter); ok {
		return result(r.Reset(out[:0], id))
	}
	return 0
}

// result keeps what was made until the next call, and says where it is: the address in the upper half, the size in the lower.
func result(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	out = b
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(len(b))
}
