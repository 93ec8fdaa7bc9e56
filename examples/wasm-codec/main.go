// Command wasm-codec is the codec of the made-up protocol "ticker" as a WebAssembly module (docs/CODECS.md). A message is
//
//	4 bytes  its length, this head included, big endian
//	4 bytes  the request's number
//	1 byte   'Q' question, 'A' answer, 'E' error, 'P' ping, 'R' reply to a ping
//	         lines "name=value", the first of a question "symbol=…"
//
// Rules see the symbol as the service, "ask" as the method, and all lines as fields, which they may change.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o ticker.wasm ./examples/wasm-codec
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/weftmesh/weft/proxy/codec/guest"
)

const headLen = 9

type ticker struct{}

func init() {
	guest.Serve(guest.Protocol{Codec: ticker{}, Order: guest.ByID, MutableRequests: true, MutableResponses: true})
}

func main() {}

// Decode implements guest.Codec.
func (ticker) Decode(b []byte, _ bool, m *guest.Message) error {
	if len(b) < headLen {
		return nil
	}
	m.Size, m.ID = int(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	if m.Size < headLen {
		return fmt.Errorf("a message of %d bytes", m.Size)
	}
	switch b[8] {
	case 'Q':
		m.Kind = guest.Request
	case 'A':
		m.Kind = guest.Response
	case 'E':
		m.Kind, m.Status = guest.Response, 500
	case 'P':
		m.Kind = guest.Heartbeat
	case 'R':
		m.Kind = guest.HeartbeatReply
	default:
		return fmt.Errorf("a message of kind %q", b[8])
	}
	if len(b) < m.Size {
		return nil
	}
	for line := range bytes.Lines(b[headLen:m.Size]) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		m.Fields = append(m.Fields, guest.Field{Name: name, Value: value})
		switch string(name) {
		case "symbol":
			m.Authority, m.Method = value, []byte("ask")
			m.Path = append([]byte("/"), value...)
		case "panic":
			panic("asked to")
		case "forever":
			for {
				runtime.Gosched()
			}
		}
	}
	return nil
}

// Encode implements guest.Codec.
func (ticker) Encode(out, raw []byte, _ bool, id uint64, changes []guest.Change) ([]byte, error) {
	if len(raw) < headLen {
		return out, errors.New("no message")
	}
	at := len(out)
	out = append(out, raw[:headLen]...)
	for line := range bytes.Lines(raw[headLen:]) {
		name, _, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		if !changed(name, changes) {
			out = append(out, line...)
		}
	}
	for _, c := range changes {
		if !c.Remove {
			out = append(out, c.Name+"="+c.Value+"\n"...)
		}
	}
	binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at)) //nolint:gosec // of a message
	binary.BigEndian.PutUint32(out[at+4:], uint32(id))        //nolint:gosec // numbers are the proxy's own, or a client's uint32
	return out, nil
}

func changed(name []byte, changes []guest.Change) bool {
	for _, c := range changes {
		if string(bytes.ToLower(name)) == c.Name {
			return true
		}
	}
	return false
}

// Answer implements guest.Codec.
func (ticker) Answer(out []byte, m *guest.Message, status int, text string) []byte {
	kind, body := byte('E'), fmt.Sprintf("status=%d\ntext=%s\n", status, text)
	if m.Kind == guest.Heartbeat {
		kind, body = 'R', ""
	}
	out = binary.BigEndian.AppendUint32(out, uint32(headLen+len(body))) //nolint:gosec // short
	out = binary.BigEndian.AppendUint32(out, uint32(m.ID))              //nolint:gosec // it was one
	return append(append(out, kind), body...)
}
