// Package codectest helps to test codecs: Check holds one to the contract of proxy/codec, and Toy is
// a protocol for tests of the framework itself. It is not linked into the binaries.
package codectest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/weftmesh/weft/proxy/codec"
)

// toyHead is a message's head: length of the rest (4 bytes), kind (1), id (4).
const toyHead = 9

// Toy is a protocol of lines "name=value" behind a small head; ":service" and ":method" are
// the authority and the operation, ":status" an answer's. The body follows an empty line.
func Toy(order codec.Order) *codec.Protocol {
	return &codec.Protocol{
		Name: "toy", New: func() codec.Codec { return &toy{} }, Order: order,
		MutableRequests: true, MutableResponses: true, MaxMessage: 1 << 20,
	}
}

type toy struct{ buf []byte }

// ToyMessage makes a message.
func ToyMessage(k codec.Kind, id uint32, text string) []byte {
	return appendToy(nil, k, id, []byte(text))
}

func appendToy(out []byte, k codec.Kind, id uint32, text []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(text))) //nolint:gosec // tests
	out = append(out, byte(k))
	out = binary.BigEndian.AppendUint32(out, id)
	return append(out, text...)
}

// SplitToy cuts the first message off; n is 0 while it is not whole.
func SplitToy(b []byte) (k codec.Kind, id uint32, text string, n int) {
	if len(b) < toyHead {
		return 0, 0, "", 0
	}
	n = toyHead + int(binary.BigEndian.Uint32(b))
	if len(b) < n {
		return 0, 0, "", 0
	}
	return codec.Kind(b[4]), binary.BigEndian.Uint32(b[5:]), string(b[toyHead:n]), n
}

// Decode implements codec.Codec.
func (t *toy) Decode(b []byte, _ codec.Peer, m *codec.Message) error {
	if len(b) < toyHead {
		return nil
	}
	if b[4] > byte(codec.GoAway) {
		return errors.New("unknown kind of message")
	}
	m.Size, m.Kind, m.ID = toyHead+int(binary.BigEndian.Uint32(b)), codec.Kind(b[4]), uint64(binary.BigEndian.Uint32(b[5:]))
	if len(b) < m.Size || m.Head == nil {
		return nil
	}
	text := b[toyHead:m.Size]
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte("="))
		switch string(name) {
		case ":service":
			m.Head.Authority = m.Head.Keep(value)
		case ":method":
			m.Head.Method = m.Head.Keep(value)
			m.Head.Path = m.Head.Kept(append(append(m.Head.Buffer(), '/'), value...))
			m.Note = value
		case ":status":
			m.Head.Status, _ = strconv.Atoi(m.Head.Keep(value))
		default:
			m.Head.AddBytes(name, value)
		}
		text = rest
	}
	return nil
}

// Encode implements codec.Codec.
func (t *toy) Encode(out, raw []byte, _ codec.Peer, id uint64, changes []codec.Change) ([]byte, error) {
	if len(raw) < toyHead {
		return out, errors.New("no message")
	}
	text := raw[toyHead:]
	if len(changes) > 0 {
		text = t.change(text, changes)
	}
	return appendToy(out, codec.Kind(raw[4]), uint32(id), text), nil //nolint:gosec // ids are the framework's
}

func (t *toy) change(text []byte, changes []codec.Change) []byte {
	t.buf = t.buf[:0]
	for len(text) > 0 && text[0] != '\n' {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		name, _, _ := bytes.Cut(line, []byte("="))
		touched := false
		for _, c := range changes {
			touched = touched || c.Name == string(name) || c.Name == ":authority" && string(name) == ":service"
		}
		if !touched {
			t.buf = append(append(t.buf, line...), '\n')
		}
		text = rest
	}
	for _, c := range changes {
		name := c.Name
		if name == ":authority" {
			name = ":service"
		}
		if !c.Remove {
			t.buf = fmt.Appendf(t.buf, "%s=%s\n", name, c.Value)
		}
	}
	return append(t.buf, text...)
}

// Reset implements codec.Resetter.
func (t *toy) Reset(out []byte, id uint64) []byte {
	return appendToy(out, codec.StreamReset, uint32(id), []byte("given up")) //nolint:gosec // ids are the framework's
}

// Answer implements codec.Codec.
func (t *toy) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	k := codec.Response
	if m.Kind == codec.Heartbeat {
		k = codec.HeartbeatReply
	}
	return appendToy(out, k, uint32(m.ID), fmt.Appendf(nil, ":status=%d\n\n%s: %s", a.Status, m.Note, a.Text)) //nolint:gosec // a uint32 once
}
