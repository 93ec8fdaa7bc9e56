package declared

import (
	"bytes"
	"errors"
	"math"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/protocol"
)

// maxParts is how many parts a declaration may have.
const maxParts = protocol.MaxParts

// conn is one connection's codec.
type conn struct {
	p      *plan
	spans  [maxParts]span
	prefix number
	buf    []byte
	put    []byte
	name   []byte
	val    []byte
}

// streamConn is the codec of a protocol with streams.
type streamConn struct{ conn }

var (
	_ codec.Codec    = (*conn)(nil)
	_ codec.Resetter = (*streamConn)(nil)
)

// Decode implements codec.Codec.
func (c *conn) Decode(b []byte, from codec.Peer, m *codec.Message) error {
	p := c.p
	n := min(len(p.magic), len(b))
	if !bytes.Equal(b[:n], p.magic[:n]) {
		return errors.New("a message that does not begin as declared")
	}
	size, err := c.size(b, m)
	if m.Size = size; err != nil || size == 0 || len(b) < size {
		return err
	}
	b = b[:size]
	fits := c.bounds(b)
	if !fits {
		m.Fault = errParts
		clear(c.spans[:])
	}
	failed := false
	m.Kind, failed = c.kind(b, from)
	c.number(b, m)
	switch m.Kind {
	case codec.Heartbeat:
		m.Note = b
	case codec.Request, codec.OneWay, codec.StreamOpen:
		m.Note = b[:min(p.header, len(b))]
	}
	if m.Head == nil || !fits {
		return nil
	}
	switch m.Kind {
	case codec.Request, codec.OneWay:
		c.head(b, m.Head, requests)
	case codec.StreamOpen:
		c.head(b, m.Head, streams)
	case codec.Response:
		if m.Head.Status = c.status(b); failed {
			m.Head.Status = 500
		}
		c.extra(b, m.Head, answers)
	}
	if cap(c.buf) > 4<<10 {
		c.buf = nil
	}
	return nil
}

// size is that of the message which b begins with; 0: it is not known yet.
func (c *conn) size(b []byte, m *codec.Message) (int, error) {
	p := c.p
	least := max(1, p.header, len(p.magic))
	switch {
	case p.fixed > 0:
		return p.fixed, nil
	case p.length != nil:
		if len(b) < p.length.off+p.length.size {
			return 0, nil
		}
		v, ok := p.length.read(b)
		if !ok {
			return 0, errors.New("a length that is not a number")
		}
		if v > math.MaxInt32 || int(v)+p.length.adjust < least { //nolint:gosec // bounded
			return 0, tooShort(int(v&math.MaxInt32)+p.length.adjust, least) //nolint:gosec // bounded
		}
		return int(v) + p.length.adjust, nil //nolint:gosec // bounded
	}
	seen, _ := m.Memo.(int)
	at := bytes.Index(b[min(seen, len(b)):], p.delim)
	if at < 0 {
		if len(b) > 0 {
			m.Memo = max(0, len(b)-len(p.delim)+1)
		}
		return 0, nil
	}
	if size := min(seen, len(b)) + at + len(p.delim); size >= p.header+len(p.delim) {
		return size, nil
	}
	return 0, tooShort(at, least)
}

// kind is what a message is for; failed: an answer that went wrong.
func (c *conn) kind(b []byte, from codec.Peer) (k codec.Kind, failed bool) {
	if k = codec.Request; from == codec.Server {
		k = codec.Response
	}
	p := c.p
	if p.typ != nil {
		if v, ok := c.find(b, p.typ); ok {
			for i := range p.kinds {
				if v.is(p.kinds[i].values) {
					k, failed = p.kinds[i].kind, p.kinds[i].failed
					break
				}
			}
		}
	}
	if from == codec.Server {
		k = ofServer(k)
	} else if k == codec.Response || k == codec.GoAway { // of a client it is none
		k = codec.HeartbeatReply
	}
	for i := range p.refine {
		r := &p.refine[i]
		if r.from != k && !(r.kind == codec.Heartbeat && k == codec.Response) {
			continue
		}
		if v, ok := c.find(b, &r.at); (ok || len(r.values) > 0 && len(r.values[0].text) == 0) && v.is(r.values) {
			if k, failed = r.kind, failed || r.failed; from == codec.Server && k == codec.Heartbeat {
				k = codec.Heartbeat
			}
			break
		}
	}
	return k, failed
}

// ofServer is what a kind of a client's messages is when a server sends it: protocols do not always tell them apart.
func ofServer(k codec.Kind) codec.Kind {
	switch k {
	case codec.Request, codec.OneWay:
		return codec.Response
	case codec.StreamOpen:
		return codec.StreamData
	}
	return k
}

// number reads the message's number.
func (c *conn) number(b []byte, m *codec.Message) {
	at := c.idOf(m.Kind)
	if at == nil {
		return
	}
	v, ok := c.find(b, at)
	if !ok && at.format == protobuf {
		return // 0 is left out there
	}
	if m.ID, ok = v.num(); ok {
		return
	}
	if m.Kind == codec.Request && c.p.byID && m.Fault == nil {
		m.Fault = errID
	}
}

// idOf is where messages of a kind have their number.
func (c *conn) idOf(k codec.Kind) *place {
	if k >= codec.StreamOpen && k <= codec.StreamReset && c.p.streamID != nil {
		return c.p.streamID
	}
	return c.p.id
}

// head fills in what rules see of a request.
func (c *conn) head(b []byte, h *filter.Headers, in of) {
	if v, ok := c.first(b, c.p.service, in); ok {
		h.Authority = keep(h, v)
	}
	if v, ok := c.first(b, c.p.method, in); ok {
		h.Method = keep(h, v)
	}
	switch {
	case len(h.Method) > 0 && h.Method[0] == '/':
		h.Path = h.Method
	case h.Authority == "":
		h.Path = h.Kept(append(append(h.Buffer(), '/'), h.Method...))
	default:
		path := append(append(h.Buffer(), '/'), h.Authority...)
		h.Path = h.Kept(append(append(path, '/'), h.Method...))
	}
	c.extra(b, h, in)
}

// extra fills in the declared fields.
func (c *conn) extra(b []byte, h *filter.Headers, in of) {
	for i := range c.p.fields {
		f := &c.p.fields[i]
		if f.at.of&in == 0 {
			continue
		}
		if f.all {
			c.entries(b, &f.at, h)
			continue
		}
		if h.Has(f.name) {
			continue // the first place that has something counts
		}
		if v, ok := c.find(b, &f.at); ok {
			h.Add(f.name, keep(h, v))
		}
	}
}

// entries fills in all entries of a part or map.
func (c *conn) entries(b []byte, p *place, h *filter.Headers) {
	r := c.region(b, p)
	in := b[r.a:r.z]
	switch p.format {
	case protobuf:
		r, ok := protoMap(in, p.numbers)
		if !ok {
			return
		}
		in = in[r.a:r.z]
		for i := 0; ; {
			f, ok := nextProto(in, i)
			if !ok {
				return
			}
			if f.number == p.numbers[len(p.numbers)-1] {
				if k, v, ok := mapEntry(in, f); ok && named(k) {
					h.AddBytes(k, v)
				}
			}
			i = f.all.z
		}
	case jsonText:
		s, ok := findJSON(in, p.names)
		if !ok || in[s.a] != '{' {
			return
		}
		for i := s.a + 1; ; {
			var m member
			if m, i, ok = nextJSON(in, i); !ok {
				return
			}
			name := in[m.key.a+1 : m.key.z-1]
			if v, ok := c.jsonValue(in[m.value.a:m.value.z]); ok && named(name) {
				h.AddBytes(name, v.text)
			}
		}
	}
	d := &c.p.parts[p.part]
	for i := 0; ; {
		e, ok := d.next(in, i)
		if !ok {
			return
		}
		if name := in[e.key.a:e.key.z]; named(name) {
			h.AddBytes(name, in[e.value.a:e.value.z])
		}
		i = e.all.z
	}
}

// named tells whether rules can name a field so.
func named(b []byte) bool {
	for _, x := range b {
		if x <= ' ' || x == ':' || x == 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// status is how an answer went, as HTTP says it.
func (c *conn) status(b []byte) int {
	p := c.p
	if p.status == nil {
		return 200
	}
	v, _ := c.find(b, p.status)
	if v.is(p.ok) {
		return 200
	}
	for i := range p.http {
		if v.same(&p.http[i].want) {
			return p.http[i].status
		}
	}
	return 500
}
