package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// Outcomes, the first byte of what decoding and encoding return.
const (
	more   = 0
	done   = 1
	broken = 2
)

// headLen is what a decoded message has before its texts.
const headLen = 24

// glance is how much of what has come a module is shown at first: behind a message there may be many others.
const glance = 4096

// maxFields bounds what is read of a module's answer.
const maxFields = 300

// conn is one connection's codec.
type conn struct {
	code *code
	in   []byte
}

var (
	_ codec.Drainer  = (*drainConn)(nil)
	_ codec.Resetter = (*conn)(nil)
	_ codec.Pinger   = (*conn)(nil)
)

// drainConn is that of a protocol that can tell clients to leave.
type drainConn struct{ conn }

// with runs f with a machine, which is given back unless f has failed.
func (c *conn) with(f func(*machine) error) error {
	m, err := c.code.take()
	if err != nil {
		return err
	}
	if err := f(m); err != nil {
		var said saidError
		if errors.As(err, &said) {
			c.code.put(m) // the module is well, the bytes are not
		} else {
			m.end()
		}
		return err
	}
	c.code.put(m)
	return nil
}

// saidError is what a module has to say against some bytes.
type saidError string

func (e saidError) Error() string { return string(e) }

// Decode implements codec.Codec.
func (c *conn) Decode(b []byte, from codec.Peer, m *codec.Message) error {
	return c.with(func(vm *machine) error {
		for n := min(len(b), glance); ; n = min(len(b), max(2*n, m.Size)) {
			*m = codec.Message{Head: m.Head}
			if err := vm.decode(b[:n], from, m); err != nil {
				return err
			}
			if n == len(b) || m.Size > 0 && m.Size <= n {
				return nil
			}
			if m.Size > len(b) {
				return nil // it is asked again when all has come
			}
		}
	})
}

// decode asks a module about bytes, and reads its answer.
func (m *machine) decode(b []byte, from codec.Peer, out *codec.Message) error {
	r, err := m.ask(decode, b, 0, uint64(from))
	switch {
	case err != nil:
		return err
	case len(r) > 0 && r[0] == more:
		return nil
	case len(r) > 0 && r[0] == broken:
		return saidError(r[1:])
	case len(r) < headLen || r[0] != done:
		return errors.New("the codec's module answers with what is no message")
	}
	return record(r, len(b), out)
}

// record reads a message as a module describes it. have is how many bytes it was shown.
func record(r []byte, have int, out *codec.Message) error {
	status, size := binary.LittleEndian.Uint16(r[2:]), binary.LittleEndian.Uint32(r[4:])
	switch {
	case r[1] > byte(codec.GoAway):
		return fmt.Errorf("the codec's module finds a message of kind %d", r[1])
	case size == 0 || size > maxMessage:
		return fmt.Errorf("the codec's module finds a message of %d bytes", size)
	case status != 0 && (status < 100 || status > 599):
		return fmt.Errorf("the codec's module finds the status %d", status)
	}
	out.Kind, out.Size = codec.Kind(r[1]), int(size)
	out.ID, out.Tag = binary.LittleEndian.Uint64(r[8:]), binary.LittleEndian.Uint64(r[16:])
	if out.Size > have {
		return nil
	}
	p := pieces{r[headLen:]}
	if note := p.next(); len(note) > 0 {
		out.Note = bytes.Clone(note) // the module's memory changes with its next call
	}
	if fault := p.next(); len(fault) > 0 {
		out.Fault = errors.New(string(fault))
	}
	if h := out.Head; h != nil {
		if status != 0 {
			h.Status = int(status)
		}
		h.Authority, h.Method, h.Path = h.Keep(p.next()), h.Keep(p.next()), h.Keep(p.next())
		p.fields(h)
	}
	return nil
}

// pieces are texts with their lengths before them. What does not fit counts as nothing.
type pieces struct{ b []byte }

func (p *pieces) next() []byte {
	if len(p.b) < 4 {
		p.b = nil
		return nil
	}
	n := uint64(binary.LittleEndian.Uint32(p.b))
	if n > uint64(len(p.b)-4) {
		p.b = nil
		return nil
	}
	s := p.b[4 : 4+n]
	p.b = p.b[4+n:]
	return s
}

func (p *pieces) fields(h *filter.Headers) {
	for n := 0; len(p.b) > 0 && n < maxFields; n++ {
		name := p.next()
		value := p.next()
		if len(name) > 0 && name[0] != ':' {
			h.AddBytes(name, value)
		}
	}
}

func appendPiece(out []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(s))), s...) //nolint:gosec // of a message
}

// Encode implements codec.Codec.
func (c *conn) Encode(out, raw []byte, from codec.Peer, id uint64, changes []codec.Change) ([]byte, error) {
	c.in = append(binary.LittleEndian.AppendUint32(c.in[:0], uint32(len(raw))), raw...) //nolint:gosec // of a message
	for _, x := range changes {
		remove := byte(0)
		if x.Remove {
			remove = 1
		}
		c.in = appendPiece(appendPiece(append(c.in, remove), x.Name), x.Value)
	}
	err := c.with(func(m *machine) error {
		r, err := m.ask(encode, c.in, 0, uint64(from), id)
		switch {
		case err != nil:
			return err
		case len(r) > 0 && r[0] == broken:
			return saidError(r[1:])
		case len(r) < 2 || r[0] != done || len(r) > 2*maxMessage:
			return errors.New("the codec's module makes no message")
		}
		out = append(out, r[1:]...)
		return nil
	})
	if cap(c.in) > glance {
		c.in = nil
	}
	return out, err
}

// Answer implements codec.Codec. A module that fails here says nothing to the client.
func (c *conn) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	in := appendPiece(append(binary.LittleEndian.AppendUint32(nil, uint32(len(m.Note))), m.Note...), a.Text) //nolint:gosec // short
	return c.say(out, answer, in, 0, uint64(m.Kind), m.ID, m.Tag, uint64(a.Status))                          //nolint:gosec // a status
}

// Ping implements codec.Pinger.
func (c *conn) Ping(out []byte) []byte { return c.say(out, ping, nil) }

// Drain implements codec.Drainer.
func (c *drainConn) Drain(out []byte) []byte { return c.say(out, drain, nil) }

// Reset implements codec.Resetter.
func (c *conn) Reset(out []byte, id uint64) []byte { return c.say(out, reset, nil, id) }

// say appends what a function makes of ask's arguments.
func (c *conn) say(out []byte, function int, in []byte, args ...uint64) []byte {
	_ = c.with(func(m *machine) error {
		if m.fn[function] == nil {
			return nil
		}
		r, err := m.ask(function, in, args...)
		if err == nil && len(r) <= maxMessage {
			out = append(out, r...)
		}
		return err
	})
	return out
}
