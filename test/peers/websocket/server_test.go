package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// link is the bytes of one WebSocket, whatever carries them.
type link interface {
	io.ReadWriter
	// End says that no more comes, and Reset breaks it off.
	End()
	Reset()
}

// record is what the server saw of a case.
type record struct {
	done      chan struct{}
	got, sent bytes.Buffer
	fate      string // how the client's side ended
}

// records are those of all cases on one proxy, by the case's name.
type records struct {
	mu sync.Mutex
	m  map[string]*record
}

func (r *records) of(name string) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[string]*record{}
	}
	if r.m[name] == nil {
		r.m[name] = &record{done: make(chan struct{})}
	}
	return r.m[name]
}

// endpoint is a server of one connection, which sends back each message.
type endpoint struct {
	l    link
	rec  *record
	mode string // what it is to do instead of answering a message: modeDrop, modeReset
	all  int    // how many bytes the client sends

	deflate  bool
	out, in  deflater
	message  []byte
	op       byte // of the message that has begun; 0: none
	squeezed bool
}

// Modes.
const (
	modeDrop  = "drop"
	modeReset = "reset"
)

// Read and Write record.
func (e *endpoint) Read(p []byte) (int, error) {
	n, err := e.l.Read(p)
	e.rec.got.Write(p[:n])
	return n, err
}

func (e *endpoint) send(first byte, payload []byte) {
	b := appendFrame(nil, first, payload, false)
	e.rec.sent.Write(b)
	_, _ = e.l.Write(b)
}

// fail is a reason to close, as a code.
type fail int

func (f fail) Error() string { return "fails" }

// errOver: both sides have said close.
var errOver = errors.New("over")

// serve is the connection's life.
func (e *endpoint) serve() {
	defer close(e.rec.done)
	err := error(nil)
	for err == nil {
		err = e.next()
	}
	var f fail
	switch {
	case errors.As(err, &f):
		e.send(bitFin|opClose, binary.BigEndian.AppendUint16(nil, uint16(f)))
	case errors.Is(err, errReset):
		e.l.Reset()
		e.rec.fate = "reset here"
		return
	case errors.Is(err, errDrop):
		e.l.End()
		e.rec.fate = "ended here"
		return
	case !errors.Is(err, errOver):
		e.rec.fate = fate(err)
		e.l.End()
		return
	}
	// What the client had sent before it knew is to arrive too.
	buf := make([]byte, 4096)
	for e.rec.got.Len() < e.all {
		if _, err := e.Read(buf); err != nil {
			e.rec.fate = "too early: " + fate(err)
			break
		}
	}
	e.l.End()
}

var errDrop, errReset = errors.New("drop"), errors.New("reset")

// next handles one frame.
func (e *endpoint) next() error {
	f, err := readFrame(e)
	if errors.Is(err, errTooLong) {
		return fail(1002)
	}
	if err != nil {
		return err
	}
	rsv := f.first & 0x70
	if e.deflate && !f.control() && f.op() != opMore {
		rsv &^= bitRSV1
	}
	if rsv != 0 || !f.masked || f.control() && !f.fin() {
		return fail(1002)
	}
	switch f.op() {
	case opPing:
		e.send(bitFin|opPong, f.payload)
		return nil
	case opPong:
		return nil
	case opClose:
		return e.closed(f.payload)
	case opMore, opText, opBinary:
		return e.data(f)
	}
	return fail(1002)
}

// data takes part of a message.
func (e *endpoint) data(f frame) error {
	if (f.op() == opMore) != (e.op != 0) {
		return fail(1002)
	}
	if f.op() != opMore {
		e.op, e.squeezed, e.message = f.op(), f.first&bitRSV1 != 0, nil
	}
	e.message = append(e.message, f.payload...)
	if f.fin() && e.squeezed {
		m, err := e.in.decompress(e.message)
		if err != nil {
			return fail(1007)
		}
		e.message = m
	}
	if e.op == opText && (f.fin() || !e.squeezed) && !textSoFar(e.message, f.fin()) {
		return fail(1007)
	}
	if !f.fin() {
		return nil
	}
	switch e.mode {
	case modeDrop:
		return errDrop
	case modeReset:
		return errReset
	}
	first, m := bitFin|e.op, e.message
	if e.squeezed {
		first, m = first|bitRSV1, e.out.compress(m)
	}
	e.op = 0
	e.send(first, m)
	return nil
}

// textSoFar tells whether b is UTF-8, or can become so.
func textSoFar(b []byte, whole bool) bool {
	if utf8.Valid(b) {
		return true
	}
	if whole {
		return false
	}
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if rest := b[len(b)-n:]; utf8.Valid(b[:len(b)-n]) && !utf8.FullRune(rest) {
			return true
		}
	}
	return false
}

// closed answers a close frame.
func (e *endpoint) closed(p []byte) error {
	switch {
	case len(p) == 1, len(p) >= 2 && !validCode(int(binary.BigEndian.Uint16(p))):
		return fail(1002)
	case len(p) > 2 && !utf8.Valid(p[2:]):
		return fail(1007)
	}
	e.send(bitFin|opClose, p)
	return errOver
}

func validCode(c int) bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// fate names how the other side ended.
func fate(err error) string {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return "end"
	}
	return "reset"
}

// accept reads what a handshake asks for.
func (s *side) accept(get func(string) string) *endpoint {
	e := &endpoint{rec: s.records.of(get("x-case")), mode: get("x-mode"), all: atoi(get("x-length"))}
	if ext := get("sec-websocket-extensions"); ext != "" {
		e.deflate = true
		e.in.takeover = !strings.Contains(ext, "client_no_context_takeover")
		e.out.takeover = !strings.Contains(ext, "server_no_context_takeover")
	}
	return e
}
