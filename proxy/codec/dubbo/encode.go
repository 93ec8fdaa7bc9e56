package dubbo

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
)

// Encode implements codec.Codec.
func (c *conn) Encode(out, raw []byte, _ codec.Peer, id uint64, changes []codec.Change) ([]byte, error) {
	if len(raw) < headLen {
		return out, errors.New("no message")
	}
	begin := len(out)
	if len(changes) == 0 || raw[2]&serialMask != hessian2 {
		out = append(out, raw...)
	} else {
		var err error
		out, err = c.change(append(out, raw[:headLen]...), raw, changes)
		if c.trim(); err != nil {
			return out[:begin], err
		}
		binary.BigEndian.PutUint32(out[begin+12:], uint32(len(out)-begin-headLen)) //nolint:gosec // near to what was a uint32
	}
	binary.BigEndian.PutUint64(out[begin+4:], id)
	return out, nil
}

// change appends a body with its changes.
func (c *conn) change(out, raw []byte, changes []codec.Change) ([]byte, error) {
	body := raw[headLen:]
	r := &c.r
	r.reset(body)
	if raw[2]&flagRequest == 0 {
		return c.changeAnswer(out, raw, changes)
	}
	r.str()
	n := r.i
	out = append(out, body[:n]...)
	out = c.place(out, changes, ":authority") // path
	out = c.place(out, changes, "version")
	k := r.i
	isGeneric := generic(string(r.str()))
	if r.i = k; isGeneric {
		out = c.place(out, nil, "")
	} else {
		out = c.place(out, changes, ":method")
	}
	n = r.i
	args := arguments(r.str())
	if isGeneric && args > 0 && r.bad == nil && r.isStr() {
		out = append(out, body[n:r.i]...)
		out = c.place(out, changes, ":method")
		n = r.i
		args--
	}
	for range args {
		r.skip()
	}
	if r.bad != nil {
		return out, r.bad
	}
	out = append(out, body[n:r.i]...)
	return c.changeMap(out, changes)
}

// place copies a string, or writes what it is to be instead.
func (c *conn) place(out []byte, changes []codec.Change, name string) []byte {
	r := &c.r
	n := r.i
	r.str()
	for _, ch := range changes {
		if ch.Name == name && !ch.Remove {
			return appendStr(out, ch.Value)
		}
	}
	if r.bad != nil {
		return out
	}
	return append(out, r.b[n:r.i]...)
}

// changeAnswer does so for an answer, which may have to become one with attachments.
func (c *conn) changeAnswer(out, raw []byte, changes []codec.Change) ([]byte, error) {
	r := &c.r
	if raw[3] != stateOK {
		return append(out, r.b...), nil // an error has no attachments
	}
	kind := r.integer()
	if kind < withException || kind > withNullAndAttachments {
		return out, errValue
	}
	if kind < withExceptionAndAttachments {
		kind += withExceptionAndAttachments
	}
	out = append(out, byte(0x90+kind))
	n := r.i
	if kind != withNullAndAttachments {
		r.skip()
	}
	if r.bad != nil {
		return out, r.bad
	}
	out = append(out, r.b[n:r.i]...)
	return c.changeMap(out, changes)
}

// changeMap appends the attachments as they are to be.
func (c *conn) changeMap(out []byte, changes []codec.Change) ([]byte, error) {
	r := &c.r
	c.mapAt = r.i
	if !r.open() {
		out = append(out, 'H')
	} else {
		out = append(out, r.b[c.mapAt:r.i]...) // its type counts for those that refer to types by number
		for r.bad == nil && r.peek() != 'Z' {
			n := r.i
			if !r.isStr() {
				r.skip()
				r.skip()
				out = append(out, r.b[n:r.i]...)
				continue
			}
			c.buf = append(c.buf[:0], r.str()...)
			k := r.i
			r.skip()
			if r.bad != nil {
				break
			}
			switch ch := find(changes, c.buf); {
			case ch == nil:
				out = append(out, r.b[n:r.i]...)
			case !ch.Remove:
				out = appendStr(append(out, r.b[n:k]...), ch.Value) // the name keeps its case
			}
		}
	}
	if r.bad != nil {
		return out, r.bad
	}
	for i := range changes {
		ch := &changes[i]
		if !ch.Remove && !strings.HasPrefix(ch.Name, ":") && !known([]byte(ch.Name)) && !c.had(ch.Name) {
			out = appendStr(appendStr(out, ch.Name), ch.Value)
		}
	}
	return append(out, 'Z'), nil
}

// had tells whether the body that has been read has an attachment of that name.
func (c *conn) had(name string) bool {
	r := &c.r
	at := r.i
	defer func() { r.i = at }()
	r.i = c.mapAt
	if !r.open() {
		return false
	}
	for r.bad == nil && r.i < at && r.peek() != 'Z' {
		if !r.isStr() {
			r.skip()
			r.skip()
			continue
		}
		if strings.EqualFold(string(r.str()), name) {
			return true
		}
		r.skip()
	}
	return false
}

func find(changes []codec.Change, name []byte) *codec.Change {
	for i := range changes {
		if strings.EqualFold(changes[i].Name, string(name)) {
			return &changes[i]
		}
	}
	return nil
}
