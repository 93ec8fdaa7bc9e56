package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
)

// Protocol is what TLS has to agree on (ALPN) for an exchange on a connection.
const Protocol = "istio-peer-exchange"

const (
	// magic begins a prologue, and the length of an Any follows, both of four bytes.
	magic = 0x3D230467
	// maxPrologue bounds what a peer may say of itself.
	maxPrologue = 64 << 10
)

// prologue holds what the two headers say over HTTP, in a Struct by their names.
func prologue(id string, metadata *structpb.Struct) []byte {
	fields := map[string]*structpb.Value{HeaderValue: structpb.NewStructValue(metadata)}
	if id != "" {
		fields[HeaderID] = structpb.NewStringValue(id)
	}
	body := marshal(&anypb.Any{
		TypeUrl: "type.googleapis.com/google.protobuf.Struct", Value: marshal(&structpb.Struct{Fields: fields}),
	})
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// Exchange sends the local side's prologue and reads the peer's, which is taken
// off the connection. Both sides may begin, and whoever is Istio's answers the
// other's: so it holds for servers that speak first too. It blocks, until the
// deadline at most; after an error the connection is of no use.
func (l *Local) Exchange(nc net.Conn, deadline time.Time, additional []string) (*filter.Peer, error) {
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := nc.Write(l.prologue); err != nil {
		return nil, fmt.Errorf("%s: %w", Protocol, err)
	}
	p, err := readPrologue(nc, additional)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Protocol, err)
	}
	return p, nc.SetDeadline(time.Time{})
}

// readPrologue reads not one byte more.
func readPrologue(r io.Reader, additional []string) (*filter.Peer, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if m := binary.BigEndian.Uint32(head[:]); m != magic {
		return nil, fmt.Errorf("the peer begins with %#x, which is no prologue", m)
	}
	size := binary.BigEndian.Uint32(head[4:])
	if size > maxPrologue {
		return nil, fmt.Errorf("the peer's prologue has %d bytes, more than %d", size, maxPrologue)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	a, s := &anypb.Any{}, &structpb.Struct{}
	if err := proto.Unmarshal(body, a); err != nil {
		return nil, err
	}
	if err := a.UnmarshalTo(s); err != nil {
		return nil, err
	}
	m := s.GetFields()[HeaderValue].GetStructValue()
	if m == nil {
		return nil, errors.New("the peer's prologue has no metadata")
	}
	return parseStruct(m, additional), nil
}
