// Package guest makes a codec in Go a WebAssembly module that Weft's data plane carries a protocol with. It is for the
// module's side: a program imports it, hands its codec to Serve in an init function, and is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o codec.wasm
//
// It speaks the ABI that docs/CODECS.md describes, which needs no Go: any language that makes a module may. The package
// imports nothing of Weft, so that modules stay small. A codec here keeps nothing between two calls: any of several
// copies of the module may be asked about any message.
package guest

import "encoding/binary"

// ABI is the version of the interface between a module and the data plane.
const ABI = 1

// Kind says what a message is for: the numbers of proxy/codec.
type Kind uint8

// Kinds.
const (
	Request Kind = iota
	Response
	OneWay
	StreamOpen
	StreamData
	StreamEnd
	StreamReset
	Heartbeat
	HeartbeatReply
	GoAway
)

// Order says how answers find their requests: the numbers of proxy/codec.
type Order uint8

// Orders.
const (
	ByID Order = iota
	InOrder
	OneByOne
)

// Bits of what weft_codec_describe returns; the two lowest are the Order.
const (
	bitRequests  = 1 << 2
	bitResponses = 1 << 3
	bitDrains    = 1 << 4
)

// Outcomes of decoding and encoding, the first byte of their records.
const (
	More   = 0 // the bytes are too few
	Done   = 1 // what follows is the message
	Broken = 2 // what follows is why the connection is closed
)

// Field is one of a message's.
type Field struct{ Name, Value []byte }

// Message is what a codec has found at the beginning of some bytes. Slices may point into these.
type Message struct {
	Kind Kind
	// Size of the whole message in bytes; 0: they are too few to tell. It may be more than there is.
	Size    int
	ID, Tag uint64
	// Note is what the codec wants to know again when the proxy answers the request itself.
	Note []byte
	// Fault is what is wrong with this message alone.
	Fault string
	// Status of an answer, as HTTP has it; 0: 200.
	Status int
	// Authority is the service, Method the operation, Path "/service/operation" or the like.
	Authority, Method, Path []byte
	Fields                  []Field
}

// Change is one field that rules have changed; Remove takes it away.
type Change struct {
	Name, Value string
	Remove      bool
}

// Codec is a protocol. The methods are those of proxy/codec's Codec, without state.
type Codec interface {
	// Decode reads the message that b begins with. An error closes the connection.
	Decode(b []byte, fromServer bool, m *Message) error
	// Encode appends raw with that id and with the changes.
	Encode(out, raw []byte, fromServer bool, id uint64, changes []Change) ([]byte, error)
	// Answer appends what the proxy says to a request or heartbeat; m has its Kind, ID, Tag and Note.
	Answer(out []byte, m *Message, status int, text string) []byte
}

// Pinger, Drainer and Resetter are codecs whose protocol can ask for a sign of life, tell a client to begin nothing more,
// and give up a stream. They append nothing where there is nothing to say.
type (
	Pinger   interface{ Ping(out []byte) []byte }
	Drainer  interface{ Drain(out []byte) []byte }
	Resetter interface {
		Reset(out []byte, id uint64) []byte
	}
)

// Protocol is what a module says of itself.
type Protocol struct {
	Codec Codec
	Order Order
	// MutableRequests and MutableResponses: Encode can carry out changes.
	MutableRequests, MutableResponses bool
}

// served is the module's protocol; out is the last result.
var (
	served Protocol
	out    []byte
)

// Serve has the module speak a protocol. Call it in an init function.
func Serve(p Protocol) { served = p }

func describe() uint32 {
	d := uint32(served.Order)
	if served.MutableRequests {
		d |= bitRequests
	}
	if served.MutableResponses {
		d |= bitResponses
	}
	if _, ok := served.Codec.(Drainer); ok {
		d |= bitDrains
	}
	return d
}

func decode(b []byte, fromServer bool) []byte {
	var m Message
	if err := served.Codec.Decode(b, fromServer, &m); err != nil {
		return append(append(out[:0], Broken), err.Error()...)
	}
	if m.Size == 0 {
		return append(out[:0], More)
	}
	r := append(out[:0], Done, byte(m.Kind))
	r = binary.LittleEndian.AppendUint16(r, uint16(m.Status)) //nolint:gosec // a status
	r = binary.LittleEndian.AppendUint32(r, uint32(m.Size))   //nolint:gosec // of memory
	r = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(r, m.ID), m.Tag)
	r = text(text(r, m.Note), []byte(m.Fault))
	r = text(text(text(r, m.Authority), m.Method), m.Path)
	for _, f := range m.Fields {
		r = text(text(r, f.Name), f.Value)
	}
	return r
}

func encode(b []byte, fromServer bool, id uint64) []byte {
	raw, b := piece(b)
	var changes []Change
	for len(b) > 0 {
		c := Change{Remove: b[0] != 0}
		var name, value []byte
		name, b = piece(b[1:])
		value, b = piece(b)
		c.Name, c.Value = string(name), string(value)
		changes = append(changes, c)
	}
	r, err := served.Codec.Encode(append(out[:0], Done), raw, fromServer, id, changes)
	if err != nil {
		return append(append(out[:0], Broken), err.Error()...)
	}
	return r
}

func answer(b []byte, kind Kind, id, tag uint64, status int) []byte {
	note, b := piece(b)
	said, _ := piece(b)
	return served.Codec.Answer(out[:0], &Message{Kind: kind, ID: id, Tag: tag, Note: note}, status, string(said))
}

// text appends a length and bytes.
func text(out, s []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(s))), s...) //nolint:gosec // of memory
}

// piece is the reverse. The host writes what it reads.
func piece(b []byte) (s, rest []byte) {
	n := binary.LittleEndian.Uint32(b)
	return b[4 : 4+n], b[4+n:]
}
