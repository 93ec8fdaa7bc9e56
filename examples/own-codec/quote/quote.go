// Package quote is the codec of a made-up protocol: the whole of what it takes to have a protocol
// of one's own carried. A message is
//
//	4 bytes  its length, this head included, big endian
//	4 bytes  the request's number
//	1 byte   'Q' question, 'A' answer, 'E' error, 'P' ping, 'R' reply to a ping
//	         "symbol\n" and the rest
//
// Rules see the symbol as :authority and :path, and the first line of a question's rest as the field "desk".
package quote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/proxy/codec"
)

// Protocol is what the data plane is told of it.
var Protocol = codec.Protocol{Name: "quote", New: func() codec.Codec { return conn{} }, Order: codec.ByID, MaxMessage: 1 << 16}

const headLen = 9

type conn struct{}

// Decode implements codec.Codec.
func (conn) Decode(b []byte, _ codec.Peer, m *codec.Message) error {
	if len(b) < headLen {
		return nil
	}
	m.Size, m.ID = int(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	if m.Size < headLen {
		return fmt.Errorf("a message of %d bytes", m.Size)
	}
	switch b[8] {
	case 'Q':
		m.Kind = codec.Request
	case 'A', 'E':
		m.Kind = codec.Response
	case 'P':
		m.Kind = codec.Heartbeat
	case 'R':
		m.Kind = codec.HeartbeatReply
	default:
		return fmt.Errorf("a message of kind %q", b[8])
	}
	if m.Head == nil || len(b) < m.Size {
		return nil
	}
	if m.Kind == codec.Response && b[8] == 'E' {
		m.Head.Status = 500
	}
	if m.Kind == codec.Request {
		symbol, rest, _ := bytes.Cut(b[headLen:m.Size], []byte("\n"))
		desk, _, _ := bytes.Cut(rest, []byte("\n"))
		m.Head.Method = "ask"
		m.Head.Authority = m.Head.Keep(symbol)
		m.Head.Path = m.Head.Kept(append(append(m.Head.Buffer(), '/'), symbol...))
		m.Head.AddBytes([]byte("desk"), desk)
	}
	return nil
}

// Encode implements codec.Codec: only the number can be another.
func (conn) Encode(out, raw []byte, _ codec.Peer, id uint64, _ []codec.Change) ([]byte, error) {
	if len(raw) < headLen {
		return out, errors.New("no message")
	}
	at := len(out)
	out = append(out, raw...)
	binary.BigEndian.PutUint32(out[at+4:], uint32(id)) //nolint:gosec // numbers are the proxy's own, or a client's uint32
	return out, nil
}

// Answer implements codec.Codec.
func (conn) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	kind, text := byte('E'), a.Text
	if m.Kind == codec.Heartbeat {
		kind, text = 'R', ""
	}
	out = binary.BigEndian.AppendUint32(out, uint32(headLen+len(text))) //nolint:gosec // short
	out = binary.BigEndian.AppendUint32(out, uint32(m.ID))              //nolint:gosec // it was one
	return append(append(out, kind), text...)
}
