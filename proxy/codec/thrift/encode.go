package thrift

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
)

// maxInfo bounds the pairs of a THeader: its size is 16 bits of words.
const maxInfo = 4*0xffff - 64

// Encode implements codec.Codec.
func (c *conn) Encode(out, raw []byte, _ codec.Peer, id uint64, changes []codec.Change) ([]byte, error) {
	defer c.trim()
	l := &c.l
	if err := l.read(raw, &walk{}); err != nil || l.size != len(raw) {
		return out, errors.Join(err, errShort)
	}
	seq := uint32(id) //nolint:gosec // 32 bits are all there is
	if l.payload >= l.size {
		return c.header(out, raw, nil, seq, changes)
	}
	// The message again, with its new number.
	c.out = append(c.out[:0], raw[l.payload:l.name.to]...)
	if l.protocol == compactProtocol {
		c.out = append(c.out[:0], raw[l.payload:l.payload+2]...)
		c.out = binary.AppendUvarint(c.out, uint64(seq))
		c.out = append(binary.AppendUvarint(c.out, uint64(l.name.to-l.name.from)), l.name.of(raw)...) //nolint:gosec // not negative
	} else {
		c.out = binary.BigEndian.AppendUint32(c.out, seq)
	}
	c.out = append(c.out, raw[l.args:]...)
	switch l.transport {
	case header:
		return c.header(out, raw, c.out, seq, changes)
	case framed:
		out = binary.BigEndian.AppendUint32(out, uint32(len(c.out))) //nolint:gosec // near to what was one
	}
	return append(out, c.out...), nil
}

// trim lets go of much memory.
func (c *conn) trim() {
	if cap(c.out) > 64<<10 {
		c.out = nil
	}
}

// header appends a message with THeader. A transformed one keeps all but number and pairs.
func (c *conn) header(out, raw, payload []byte, seq uint32, changes []codec.Change) ([]byte, error) {
	l := &c.l
	if payload == nil || len(changes) == 0 {
		at := len(out)
		if payload == nil {
			out = append(out, raw...)
		} else {
			out = append(append(out, raw[:l.payload]...), payload...)
			binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4)) //nolint:gosec // near to what was one
		}
		binary.BigEndian.PutUint32(out[at+8:], seq)
		return out, nil
	}
	info, n := []byte(nil), uint64(0)
	add := func(k, v string) {
		info = append(binary.AppendUvarint(info, uint64(len(k))), k...)
		info = append(binary.AppendUvarint(info, uint64(len(v))), v...)
		n++
	}
	seen := map[string]bool{}
	err := pairs(l.info.of(raw), func(k, v []byte) {
		name, value := string(k), string(v)
		for i := range changes {
			if strings.EqualFold(changes[i].Name, name) {
				seen[changes[i].Name] = true
				if changes[i].Remove {
					return
				}
				value = changes[i].Value
			}
		}
		add(name, value)
	})
	if err != nil {
		return out, err
	}
	for _, ch := range changes {
		if !ch.Remove && !seen[ch.Name] && !strings.HasPrefix(ch.Name, ":") {
			add(ch.Name, ch.Value)
		}
	}
	if n > 0 {
		info = append(binary.AppendUvarint([]byte{1}, n), info...)
	}
	if len(info) > maxInfo {
		return out, errors.New("more headers than THeader can hold")
	}
	l.seq = seq
	return append(l.appendHeader(out, info, len(payload)), payload...), nil
}
