package serve

import (
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that Options puts ours before
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// response is one response in the bytes in which it goes out: a head of its own,
// and resources as they are shared with other responses.
type response struct{ body mem.BufferSlice }

// Fields that DiscoveryResponse and DeltaDiscoveryResponse have by the same
// numbers, and what only the second has.
const (
	fieldVersion = 1
	fieldTypeURL = 4
	fieldNonce   = 5
	fieldRemoved = 6
)

// head is what a response says beside its resources.
type head struct {
	typeURL        string
	version, nonce uint64
	removed        []string
}

// newResponse makes a response of n resources, which the caller appends.
func newResponse(h head, n int) *response {
	size := 64 + len(h.typeURL)
	for _, name := range h.removed {
		size += len(name) + 4
	}
	b := make([]byte, 0, size)
	text := func(field protowire.Number, s string) {
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendString(b, s)
	}
	text(fieldVersion, strconv.FormatUint(h.version, 10))
	text(fieldTypeURL, h.typeURL)
	text(fieldNonce, strconv.FormatUint(h.nonce, 10))
	for _, name := range h.removed {
		text(fieldRemoved, name)
	}
	body := make(mem.BufferSlice, 1, n+1)
	body[0] = mem.SliceBuffer(b)
	return &response{body}
}

// codec is gRPC's for protobuf, but for responses, which are bytes already.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return r.body, nil
	}
	return c.CodecV2.Marshal(v)
}

// Options are what a gRPC server needs to carry a Server; other services on it are
// not touched.
func Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})}
}
