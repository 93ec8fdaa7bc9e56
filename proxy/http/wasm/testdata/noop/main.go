// A plug-in that does nothing with every request: what is measured is the way to it.
package main

import "unsafe"

func main() {}

//go:wasmexport proxy_abi_version_0_2_0
func version() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(make([]byte, size)))
}

//go:wasmexport proxy_on_context_create
func create(_, _ uint32) {}

//go:wasmexport proxy_on_request_headers
func requestHeaders(_, _, _ uint32) uint32 { return 0 }

//go:wasmexport proxy_on_response_headers
func responseHeaders(_, _, _ uint32) uint32 { return 0 }

//go:wasmexport proxy_on_delete
func del(_ uint32) {}
