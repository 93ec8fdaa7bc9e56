// Package thrift is the codec of Apache Thrift: the transports framed, header (THeader) and unframed with the
// protocols binary (strict) and compact, told apart message by message.
//
// Fields: :method is the operation's name; of a multiplexed processor's "service:operation" the first part is
// :authority, and :path is "/service/operation" ("/operation" else). The key-value headers of THeader are fields, and
// can be changed and added; other transports have no place for that, their messages pass as they are.
//
// An answer whose result holds a declared exception, and a TApplicationException, have status 500 (an unknown
// method: 404). The proxy's own answers are TApplicationExceptions.
//
// Servers mostly work on one request of a connection at a time, so connections to them carry one at a time.
// With an IDL (wire/thriftidl), requests of HTTP and JSON become calls, and their results JSON.
//
// Transforms of THeader (zlib) are passed on and not undone: such messages have only the fields of their headers.
package thrift

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/proxy/codec"
)

// Protocol is Thrift.
var Protocol = codec.Protocol{
	Name: "thrift", New: func() codec.Codec { return &conn{} }, Order: codec.OneByOne,
	MutableRequests: true, MutableResponses: true, Declare: declare,
}

// Transports and protocols, as a message's Tag has them.
const (
	unframed = iota
	framed
	header

	binaryProtocol  = 0
	compactProtocol = 2
)

// Types of messages.
const (
	typeCall = iota + 1
	typeReply
	typeException
	typeOneWay
)

// Types of a TApplicationException.
const (
	unknownMethod = 1
	internalError = 6
	protocolError = 7
)

const (
	headerMagic = 0x0fff
	maxFrame    = 1 << 30
)

type conn struct {
	l   layout
	out []byte
}

// layout is where the parts of a message lie.
type layout struct {
	transport, protocol int
	size                int // 0: not known yet
	info                part
	flags               uint16 // of THeader
	payload             int    // where the protocol's message begins; behind the end: it is transformed
	typ                 byte
	seq                 uint32
	name                part
	args                int // where the struct begins
}

type part struct{ from, to int }

func (p part) of(b []byte) []byte { return b[p.from:p.to] }

var errShort = errors.New("a message that ends within a value")

// Decode implements codec.Codec.
func (c *conn) Decode(b []byte, from codec.Peer, m *codec.Message) error {
	l, w := &c.l, walk{}
	at := &w
	memo, again := m.Memo.(*walk)
	if again {
		at = memo
	}
	if err := l.read(b, at); err != nil || l.size == 0 {
		if err == nil && at.at > 0 && !again {
			kept := w
			m.Memo = &kept
		}
		return err
	}
	m.Size = l.size
	if len(b) < l.size {
		return nil
	}
	m.ID, m.Tag, m.Note = uint64(l.seq), uint64(l.transport|l.protocol<<8), l.name.of(b)
	switch {
	case from == codec.Client && l.typ == typeOneWay:
		m.Kind = codec.OneWay
	case from == codec.Client:
		m.Kind = codec.Request
	default:
		m.Kind = codec.Response
	}
	if m.Head == nil {
		return nil
	}
	if l.info.to > l.info.from {
		err := pairs(l.info.of(b), func(k, v []byte) { m.Head.AddBytes(k, v) })
		if err != nil {
			return err
		}
	}
	if m.Kind == codec.Response {
		m.Head.Status = l.status(b)
		return nil
	}
	h := m.Head
	name := l.name.of(b)
	path := append(h.Buffer(), '/')
	if service, method, ok := bytes.Cut(name, []byte(":")); ok {
		path = append(append(path, service...), '/')
		name = method
		h.Path = h.Kept(append(path, method...))
		h.Authority = h.Keep(service)
	} else {
		h.Path = h.Kept(append(path, name...))
	}
	h.Method = h.Keep(name)
	return nil
}

// read finds the layout of the message that b begins with. w is how far it has been looked at before.
func (l *layout) read(b []byte, w *walk) error {
	*l = layout{}
	if len(b) > 0 && (b[0] == 0x80 || b[0] == 0x82) {
		l.transport = unframed
		return l.message(b, 0, w)
	}
	if len(b) < 4 {
		return nil
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxFrame {
		return fmt.Errorf("a frame of %d bytes", n)
	}
	l.size, l.transport = 4+int(n), framed
	if n < 2 {
		return errors.New("a frame without a message")
	}
	if len(b) < 6 {
		return nil
	}
	start := 4
	if binary.BigEndian.Uint16(b[4:]) == headerMagic {
		l.transport = header
		if len(b) < l.size {
			return nil
		}
		if err := l.header(b[:l.size]); err != nil {
			return err
		}
		if start = l.payload; start >= l.size {
			return nil
		}
	}
	if len(b) < l.size {
		return nil
	}
	size := l.size
	err := l.message(b[:size], start, w)
	if l.size = size; errors.Is(err, errShort) {
		return errors.New("a frame whose message is cut short")
	}
	return err
}

// header reads THeader, which b has whole.
func (l *layout) header(b []byte) error {
	const fixed = 14 // length, magic, flags, sequence, words
	if len(b) < fixed {
		return errors.New("a THeader that is cut short")
	}
	l.flags, l.seq = binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint32(b[8:])
	end := fixed + 4*int(binary.BigEndian.Uint16(b[12:]))
	if end > len(b) {
		return errors.New("a THeader that is longer than its frame")
	}
	r := reader{b: b[:end], i: fixed}
	l.protocol = int(r.varint()) //nolint:gosec // compared with what is known
	transforms := r.varint()
	for range transforms {
		if r.varint(); r.bad {
			break
		}
	}
	if r.bad {
		return errors.New("a THeader that is cut short")
	}
	l.info, l.payload = part{r.i, end}, end
	if transforms > 0 {
		l.payload, l.typ = len(b), typeCall // what follows cannot be read
	}
	return nil
}

// pairs gives the key-value headers to f.
func pairs(b []byte, f func(k, v []byte)) error {
	r := reader{b: b}
	for !r.bad && r.i < len(b) {
		switch id := r.varint(); id {
		case 0: // padding
			return nil
		case 1, 2: // key-value pairs, for this message or for all that follow
			for range r.varint() {
				k, v := r.bytes(int(r.varint())), r.bytes(int(r.varint())) //nolint:gosec // bytes checks
				if r.bad {
					break
				}
				f(k, v)
			}
		default:
			return nil // what others define
		}
	}
	if r.bad {
		return errors.New("a THeader that is cut short")
	}
	return nil
}

// message reads the head of a message of either protocol that begins at i, and finds its end
// where the transport does not say it.
func (l *layout) message(b []byte, i int, w *walk) error {
	r := reader{b: b, i: i}
	l.payload = i
	switch v := r.byte(); v {
	case 0x80:
		l.protocol = binaryProtocol
		if r.byte() != 1 || r.bad {
			return l.short(&r, "a version of the binary protocol that is not 1")
		}
		r.byte()
		l.typ = r.byte()
		n := int(r.uint32())
		l.name = part{r.i, r.i + n}
		r.bytes(n)
		l.seq = r.uint32()
	case 0x82:
		l.protocol = compactProtocol
		b := r.byte()
		if b&0x1f != 1 && !r.bad {
			return fmt.Errorf("version %d of the compact protocol, want 1", b&0x1f)
		}
		l.typ = b >> 5
		l.seq = uint32(r.varint()) //nolint:gosec // 32 bits by definition
		n := int(r.varint())       //nolint:gosec // bytes checks
		l.name = part{r.i, r.i + n}
		r.bytes(n)
	default:
		return fmt.Errorf("a message that begins with %#x: neither the strict binary nor the compact protocol", v)
	}
	if !r.bad && (l.typ < typeCall || l.typ > typeOneWay) {
		return fmt.Errorf("a message of type %d", l.typ)
	}
	l.args = r.i
	if l.transport == unframed && !r.bad {
		r.compact = l.protocol == compactProtocol
		r.structure(w)
		if r.fault != nil {
			return r.fault
		}
		if !r.bad {
			l.size = r.i
		}
	}
	if r.bad {
		l.size = 0
		if l.transport != unframed {
			return errShort
		}
	}
	return nil
}

// short tells what is wrong, unless more bytes may come.
func (l *layout) short(r *reader, what string) error {
	if r.bad && l.transport == unframed {
		l.size = 0
		return nil
	}
	return errors.New(what)
}

// status looks at the first field of an answer's result.
func (l *layout) status(b []byte) int {
	if l.payload >= l.size {
		return 200
	}
	r := reader{b: b[:l.size], i: l.args, compact: l.protocol == compactProtocol}
	switch l.typ {
	case typeException:
		if r.exceptionType() == unknownMethod {
			return 404
		}
		return 500
	case typeReply:
		if typ, id := r.field(0); typ != 0 && id != 0 && !r.bad {
			return 500
		}
	}
	return 200
}

// Answer implements codec.Codec.
func (c *conn) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	kind := uint32(internalError)
	switch a.Status {
	case 404:
		kind = unknownMethod
	case 400:
		kind = protocolError
	}
	transport, protocol := int(m.Tag&0xff), int(m.Tag>>8) //nolint:gosec // our own
	c.out = c.out[:0]
	if protocol == compactProtocol {
		c.out = append(c.out, 0x82, typeException<<5|1)
		c.out = binary.AppendUvarint(c.out, m.ID)
		c.out = append(binary.AppendUvarint(c.out, uint64(len(m.Note))), m.Note...)
		c.out = append(c.out, 0x18) // field 1, binary
		c.out = append(binary.AppendUvarint(c.out, uint64(len(a.Text))), a.Text...)
		c.out = append(c.out, 0x15, byte(kind<<1), 0) // field 2, i32 in zigzag; stop
	} else {
		c.out = append(c.out, 0x80, 1, 0, typeException)
		c.out = append(binary.BigEndian.AppendUint32(c.out, uint32(len(m.Note))), m.Note...) //nolint:gosec // short
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(m.ID))                           //nolint:gosec // it was one
		c.out = append(c.out, typeString, 0, 1)
		c.out = append(binary.BigEndian.AppendUint32(c.out, uint32(len(a.Text))), a.Text...) //nolint:gosec // short
		c.out = append(c.out, typeI32, 0, 2)
		c.out = append(binary.BigEndian.AppendUint32(c.out, kind), 0)
	}
	switch transport {
	case framed:
		out = binary.BigEndian.AppendUint32(out, uint32(len(c.out))) //nolint:gosec // short
	case header:
		l := layout{seq: uint32(m.ID), protocol: protocol} //nolint:gosec // it was one
		out = l.appendHeader(out, nil, len(c.out))
	}
	return append(out, c.out...)
}

// appendHeader appends a THeader with the flags, number and protocol of l, without transforms, with info as its
// pairs, before a payload of n bytes.
func (l *layout) appendHeader(out, info []byte, n int) []byte {
	const fixed = 10 // behind the length
	words := (2 + len(info) + 3) / 4
	out = binary.BigEndian.AppendUint32(out, uint32(fixed+4*words+n)) //nolint:gosec // near to what was one
	out = binary.BigEndian.AppendUint16(out, headerMagic)
	out = binary.BigEndian.AppendUint16(out, l.flags)
	out = binary.BigEndian.AppendUint32(out, l.seq)
	out = binary.BigEndian.AppendUint16(out, uint16(words)) //nolint:gosec // bounded by the caller
	out = append(append(out, byte(l.protocol), 0), info...)
	for range 4*words - 2 - len(info) {
		out = append(out, 0)
	}
	return out
}
