// Package dubbo is the codec of the Dubbo protocol (its TCP framing, versions 2.x and 3.x) with bodies in
// Hessian 2. It reads the service, the method, the version and all attachments of requests, and the attachments
// of answers; arguments and results are walked over, and not decoded.
//
// Fields: :authority and "interface" are the service's path, :method the method (of a generic call the one
// that it is for), :path
// "/path/method", "version" the service's version; and each attachment whose value is a string, its name in lower case.
// Attachments can be changed and added. A new one has its name in lower case, for fields have.
//
// Answers with an exception have status 500, the protocol's own error states the like of HTTP's.
// Heartbeats are answered at once. A client whose connection is to end gets the read-only event.
//
// Of other serializations only the framing is read: their messages have no fields. Triple is gRPC, and HTTP to us.
package dubbo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/proxy/codec"
)

// Protocol is Dubbo.
var Protocol = codec.Protocol{
	Name: "dubbo", New: func() codec.Codec { return &conn{} }, Order: codec.ByID,
	MutableRequests: true, MutableResponses: true, JSON: converter{},
}

const (
	headLen  = 16
	hessian2 = 2

	flagRequest = 0x80
	flagTwoWay  = 0x40
	flagEvent   = 0x20
	serialMask  = 0x1f
)

// States of answers.
const (
	stateOK              = 20
	stateClientTimeout   = 30
	stateServerTimeout   = 31
	stateBadRequest      = 40
	stateBadResponse     = 50
	stateServiceNotFound = 60
	stateServiceError    = 70
	stateServerError     = 80
	stateThreadPool      = 100
)

// Kinds of an answer's body.
const (
	withException = iota
	withValue
	withNull
	withExceptionAndAttachments
	withValueAndAttachments
	withNullAndAttachments
)

// readOnly is the event that asks a client to send nothing more.
const readOnly = "R"

type conn struct {
	r     reader
	buf   []byte
	mapAt int // where the attachments of the message at hand begin
}

var (
	_ codec.Codec   = (*conn)(nil)
	_ codec.Pinger  = (*conn)(nil)
	_ codec.Drainer = (*conn)(nil)
)

// Decode implements codec.Codec.
func (c *conn) Decode(b []byte, from codec.Peer, m *codec.Message) error {
	if len(b) > 0 && b[0] != 0xda || len(b) > 1 && b[1] != 0xbb {
		return errors.New("a message that does not begin with dabb")
	}
	if len(b) < headLen {
		return nil
	}
	n := binary.BigEndian.Uint32(b[12:])
	if n > 1<<30 {
		return fmt.Errorf("a body of %d bytes", n)
	}
	m.Size, m.ID, m.Tag = headLen+int(n), binary.BigEndian.Uint64(b[4:]), uint64(b[2]&serialMask)
	request := b[2]&flagRequest != 0
	if request != (from == codec.Client) && b[2]&flagEvent == 0 {
		return errors.New("a request where an answer is due, or the other way round")
	}
	switch {
	case request && b[2]&flagEvent != 0:
		if m.Kind = codec.Heartbeat; b[2]&flagTwoWay == 0 {
			m.Kind = codec.HeartbeatReply // nobody waits
		}
		if from == codec.Server && bytes.Equal(b[headLen:min(m.Size, len(b))], []byte{1, readOnly[0]}) {
			m.Kind = codec.GoAway
		}
	case b[2]&flagEvent != 0:
		m.Kind = codec.HeartbeatReply
	case request && b[2]&flagTwoWay == 0:
		m.Kind = codec.OneWay
	case request:
		m.Kind = codec.Request
	default:
		m.Kind = codec.Response
	}
	if m.Head == nil || len(b) < m.Size {
		return nil
	}
	defer c.trim()
	body := b[headLen:m.Size]
	switch m.Kind {
	case codec.Request, codec.OneWay:
		if m.Tag == hessian2 {
			m.Fault = c.request(body, m)
		}
	case codec.Response:
		m.Head.Status = statusOf(b[3])
		if m.Tag == hessian2 && b[3] == stateOK {
			c.answer(body, m)
		}
	}
	return nil
}

// request reads version of the protocol, path, version of the service, method, types of the arguments, the arguments, and the attachments.
func (c *conn) request(body []byte, m *codec.Message) error {
	r, h := &c.r, m.Head
	r.reset(body)
	r.str()
	h.Authority = h.Keep(r.str())
	version := h.Keep(r.str())
	h.Method = h.Keep(r.str())
	h.Add("interface", h.Authority)
	if version != "" {
		h.Add("version", version)
	}
	n := arguments(r.str())
	if generic(h.Method) && n > 0 && r.isStr() {
		h.Method = h.Keep(r.str()) // the method that is meant: rules are about it
		n--
	}
	path := append(append(h.Buffer(), '/'), h.Authority...)
	h.Path = h.Kept(append(append(path, '/'), h.Method...))
	for range n {
		r.skip()
	}
	c.attachments(m)
	return r.bad
}

// generic tells whether a method takes another one's name and arguments.
func generic(method string) bool { return method == genericMethod || method == genericAsync }

// trim lets go of the message, and of much memory.
func (c *conn) trim() {
	const most = 4 << 10
	c.r.b = nil
	if cap(c.r.fields) > most {
		c.r.fields = nil
	}
	if cap(c.r.buf) > most {
		c.r.buf = nil
	}
	if cap(c.buf) > most {
		c.buf = nil
	}
}

// answer reads the kind of an answer, goes over the value where attachments are behind it, and reads these. One that cannot be
// read has none: the border is known, and the connection is that of many clients.
func (c *conn) answer(body []byte, m *codec.Message) {
	r := &c.r
	r.reset(body)
	kind := r.integer()
	if kind == withException || kind == withExceptionAndAttachments {
		m.Head.Status = 500
	}
	switch kind {
	case withExceptionAndAttachments, withValueAndAttachments:
		r.skip()
	case withNullAndAttachments:
	default:
		return
	}
	c.attachments(m)
}

// attachments reads the map that a body ends with.
func (c *conn) attachments(m *codec.Message) {
	r := &c.r
	if r.bad != nil || !r.open() {
		return
	}
	for r.bad == nil && r.peek() != 'Z' {
		if !r.isStr() {
			r.skip()
			r.skip()
			continue
		}
		c.buf = append(c.buf[:0], r.str()...)
		if !r.isStr() {
			r.skip()
			continue
		}
		if v := r.str(); !known(c.buf) {
			m.Head.AddBytes(c.buf, v)
		}
	}
}

// open takes the beginning of a map; false: there is none.
func (r *reader) open() bool {
	if r.i >= len(r.b) {
		return false
	}
	switch r.next() {
	case 'H':
		return true
	case 'M':
		r.typ()
		return r.bad == nil
	}
	return false
}

// known are attachments that say again what the body has said before.
func known(name []byte) bool {
	return bytes.Equal(name, []byte("interface")) || bytes.Equal(name, []byte("version"))
}

// arguments counts the types of a descriptor like "Ljava/lang/String;[I".
func arguments(d []byte) (n int) {
	for i := 0; i < len(d); i++ {
		switch d[i] {
		case '[':
			continue
		case 'L':
			j := bytes.IndexByte(d[i:], ';')
			if j < 0 {
				return n + 1
			}
			i += j
		}
		n++
	}
	return n
}

func statusOf(state byte) int {
	switch state {
	case stateOK:
		return 200
	case stateClientTimeout, stateServerTimeout:
		return 504
	case stateBadRequest:
		return 400
	case stateServiceNotFound:
		return 404
	case stateThreadPool:
		return 503
	}
	return 500
}

func stateOf(status int) byte {
	switch status {
	case 400, 401, 403:
		return stateBadRequest
	case 404:
		return stateServiceNotFound
	case 408, 504:
		return stateServerTimeout
	case 429:
		return stateThreadPool
	}
	return stateServerError
}

// Answer implements codec.Codec.
func (c *conn) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	if m.Kind == codec.Heartbeat {
		return frame(out, flagEvent|byte(m.Tag), stateOK, m.ID, null(byte(m.Tag)))
	}
	c.buf = c.buf[:0]
	if m.Tag == hessian2 {
		c.buf = appendStr(c.buf, a.Text)
	}
	return frame(out, byte(m.Tag), stateOf(a.Status), m.ID, c.buf)
}

// null is an empty value.
func null(serial byte) []byte {
	if serial == hessian2 {
		return []byte{'N'}
	}
	return nil
}

// Ping implements codec.Pinger.
func (c *conn) Ping(out []byte) []byte {
	return frame(out, flagRequest|flagTwoWay|flagEvent|hessian2, 0, 0, []byte{'N'})
}

// Drain implements codec.Drainer.
func (c *conn) Drain(out []byte) []byte {
	return frame(out, flagRequest|flagEvent|hessian2, 0, 0, appendStr(nil, readOnly))
}

func frame(out []byte, flags, state byte, id uint64, body []byte) []byte {
	out = append(out, 0xda, 0xbb, flags, state)
	out = binary.BigEndian.AppendUint64(out, id)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body))) //nolint:gosec // of our own making
	return append(out, body...)
}
