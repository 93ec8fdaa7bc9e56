// Package declared is the codec of protocols that are declared instead of written: a protocol.Declaration says where their
// messages end and where in them lies what the proxy has to know.
//
// A declaration is compiled once into places, which are looked up in each message; nothing is allocated per message in the
// steady state. Changes of fields are put in where the fields lie, and all lengths around them are corrected. A message
// whose parts do not fit into each other is refused alone: its border is known.
//
// What a declaration cannot say: messages that are split over several frames, sizes in the form of varints, checksums (a
// changed message keeps its old one), and texts that are compressed or encrypted.
package declared

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/wire/protocol"
)

// New makes the protocol of a declaration. An error names the field that is wrong.
func New(name string, d *protocol.Declaration) (*codec.Protocol, error) {
	if faults := d.Check(); faults != nil {
		return nil, faults[0]
	}
	p := compile(d)
	out := &codec.Protocol{
		Name: name, MaxMessage: d.Framing.MaxBytes, Order: codec.OneByOne, New: func() codec.Codec { return &conn{p: p} },
		MutableRequests: p.mutable, MutableResponses: p.mutable,
	}
	switch {
	case p.byID:
		out.Order = codec.ByID
	case d.Order == "inOrder":
		out.Order = codec.InOrder
	}
	if p.streamID != nil {
		out.New = func() codec.Codec { return &streamConn{conn{p: p}} }
	}
	return out, nil
}

// plan is a declaration that has been compiled. It is shared by all connections and does not change.
type plan struct {
	magic, delim    []byte
	header, fixed   int
	length          *number
	parts           []part
	typ             *place
	kinds           []kindOf
	refine          []refinement
	id, streamID    *place
	byID, mutable   bool
	service, method []place
	fields          []field
	status          *place
	ok              []want
	http            []httpStatus
	codes           map[int]want
	other           want // the code of all other statuses
	text            *place
	streamStatus    *place
	streamText      *place
}

// number is a length in a message.
type number struct {
	off, size, adjust int
	little, text      bool
}

// formats of parts.
type format uint8

const (
	raw format = iota
	lines
	pairs
	tlv
	protobuf
	jsonText
	words
)

var formats = map[string]format{
	"": raw, protocol.Lines: lines, protocol.Pairs: pairs, protocol.TLV: tlv, protocol.Protobuf: protobuf, protocol.JSON: jsonText, protocol.Words: words,
}

// part is a stretch of a message.
type part struct {
	length, prefix  *number
	format          format
	separator       []byte
	assign          []byte
	keyLen, valueLn number // of pairs and tlv
}

// kindOf are the values of a type that stand for a kind.
type kindOf struct {
	name   string
	kind   codec.Kind
	failed bool
	values []want
}

// refinement makes a message of the kind from one of the kind to.
type refinement struct {
	kindOf
	from codec.Kind
	at   place
}

type httpStatus struct {
	want
	status int
}

// want is a value that a place may have.
type want struct {
	text   []byte
	n      uint64
	number bool
}

func wantOf(v protocol.Value) want {
	w := want{text: []byte(v)}
	base, digits := 10, string(v)
	if rest, ok := strings.CutPrefix(digits, "0x"); ok {
		base, digits = 16, rest
	}
	if n, err := strconv.ParseUint(digits, base, 64); err == nil {
		w.n, w.number = n, true
	} else if n, err := strconv.ParseInt(digits, base, 64); err == nil {
		w.n, w.number = uint64(n), true //nolint:gosec // as varints of protobuf have it
	}
	return w
}

func wants(list []protocol.Value) []want {
	out := make([]want, len(list))
	for i, v := range list {
		out[i] = wantOf(v)
	}
	return out
}

var kinds = map[string]codec.Kind{
	"request": codec.Request, "response": codec.Response, "error": codec.Response, "oneWay": codec.OneWay, "heartbeat": codec.Heartbeat,
	"heartbeatReply": codec.HeartbeatReply, "goAway": codec.GoAway, "streamOpen": codec.StreamOpen, "streamData": codec.StreamData,
	"streamEnd": codec.StreamEnd, "streamReset": codec.StreamReset,
}

// becomes says of which kind messages are that a refinement makes another.
var becomes = map[string]codec.Kind{
	"oneWay": codec.Request, "heartbeat": codec.Request, "error": codec.Response, "heartbeatReply": codec.Response, "streamReset": codec.StreamEnd,
}

// compiler holds what places refer to.
type compiler struct {
	*protocol.Declaration
	p *plan
}

func compile(d *protocol.Declaration) *plan {
	p := &plan{header: d.Framing.Header, fixed: d.Framing.Fixed}
	p.magic, _ = protocol.Bytes(d.Framing.Magic)
	p.delim, _ = protocol.Bytes(d.Framing.Delimiter)
	if d.Framing.Length != nil {
		p.length = numberOf(d.Framing.Length)
	}
	for i := range d.Parts {
		p.parts = append(p.parts, partOf(&d.Parts[i]))
	}
	c := compiler{d, p}
	c.kinds()
	p.id, p.text = c.optional(d.ID), c.optional(d.Text)
	p.byID = p.id != nil && p.id.wide()
	if d.Stream != nil {
		p.streamID, p.streamStatus, p.streamText = c.optional(d.Stream.ID), c.optional(d.Stream.Status), c.optional(d.Stream.Text)
	}
	p.service, p.method = c.places(d.Service), c.places(d.Method)
	for i := range d.Fields {
		f := &d.Fields[i]
		p.fields = append(p.fields, field{name: f.Name, all: f.All, at: c.place(&f.Place)})
	}
	p.mutable = len(d.Service)+len(d.Method)+len(d.Fields) > 0
	c.status()
	return p
}

func numberOf(n *protocol.Number) *number {
	return &number{off: n.Offset, size: n.Size, adjust: n.Adjustment, little: n.Endian == "little", text: n.Text}
}

func partOf(d *protocol.Part) part {
	p := part{format: formats[d.Format], separator: []byte(d.Separator), assign: []byte(d.Assign)}
	if d.Length != nil {
		p.length = numberOf(d.Length)
	}
	if d.Prefix != nil {
		p.prefix = numberOf(d.Prefix)
	}
	if len(p.separator) == 0 {
		p.separator = []byte("\n")
		if p.format == words {
			p.separator = []byte(" ")
		}
	}
	if len(p.assign) == 0 {
		p.assign = []byte("=")
	}
	key, value := d.KeySize, d.ValueSize
	if key == 0 {
		key = 2
		if p.format == tlv {
			key = 1
		}
	}
	if value == 0 {
		value = 2
	}
	little := d.Endian == "little"
	p.keyLen, p.valueLn = number{size: key, little: little}, number{size: value, little: little}
	return p
}

func (c compiler) kinds() {
	if t := c.Type; t != nil {
		at := c.place(&t.Place)
		c.p.typ = &at
		for _, name := range protocol.Kinds {
			if v := t.Values[name]; v != nil {
				c.p.kinds = append(c.p.kinds, kindOf{name, kinds[name], name == "error", wants(v)})
			}
		}
	}
	for i := range c.Refine {
		r := &c.Refine[i]
		c.p.refine = append(c.p.refine, refinement{
			kindOf: kindOf{r.Kind, kinds[r.Kind], r.Kind == "error", wants(r.Is)}, from: becomes[r.Kind], at: c.place(&r.Place),
		})
	}
}

func (c compiler) status() {
	s := c.Status
	if s == nil {
		return
	}
	at := c.place(&s.Place)
	c.p.status, c.p.ok, c.p.codes = &at, wants(s.OK), map[int]want{}
	if s.OK == nil {
		c.p.ok = wants([]protocol.Value{"0", ""})
	}
	for v, n := range s.HTTP {
		c.p.http = append(c.p.http, httpStatus{wantOf(protocol.Value(v)), n})
	}
	slices.SortFunc(c.p.http, func(x, y httpStatus) int { return strings.Compare(string(x.text), string(y.text)) })
	for k, v := range s.Codes {
		if n, err := strconv.Atoi(k); err == nil {
			c.p.codes[n] = wantOf(v)
		} else {
			c.p.other = wantOf(v)
		}
	}
}

func (c compiler) optional(p *protocol.Place) *place {
	if p == nil {
		return nil
	}
	at := c.place(p)
	return &at
}

func (c compiler) places(list []protocol.Place) []place {
	out := make([]place, len(list))
	for i := range list {
		out[i] = c.place(&list[i])
	}
	return out
}

func (c compiler) place(d *protocol.Place) place {
	out := place{part: whole, size: d.Size, little: d.Endian == "little", text: d.Text, mask: uint64(d.Mask), of: ofs[d.Of]} //nolint:gosec // bits
	if d.Part != "" {
		out.part = slices.IndexFunc(c.Parts, func(p protocol.Part) bool { return p.Name == d.Part })
		out.format = formats[c.Parts[out.part].Format]
	}
	switch {
	case d.Offset != nil:
		out.how, out.off = atOffset, *d.Offset
	case d.Key != "":
		out.how, out.key = atKey, []byte(d.Key)
	case d.Tag != nil:
		out.how = atKey
		n := number{size: c.p.parts[out.part].keyLen.size, little: c.p.parts[out.part].keyLen.little}
		out.key = make([]byte, n.size)
		n.write(out.key, uint64(*d.Tag)) //nolint:gosec // it is not negative
	case d.Path != "" && out.format == protobuf:
		out.how = atPath
		out.numbers, _ = protocol.Numbers(d.Path)
	case d.Path != "":
		out.how, out.names = atPath, strings.Split(d.Path, ".")
	case d.Index != nil:
		out.how, out.off = atWord, *d.Index
	}
	return out
}

// read reads a number at its offset in b, which is long enough.
func (n *number) read(b []byte) (uint64, bool) {
	b = b[n.off : n.off+n.size]
	if n.text {
		return digits(b)
	}
	return unsigned(b, n.little), true
}

func unsigned(b []byte, little bool) (v uint64) {
	switch {
	case len(b) == 4 && !little:
		return uint64(binary.BigEndian.Uint32(b))
	case little:
		for i := len(b) - 1; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
		return v
	}
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// digits reads a decimal number with spaces or zero bytes around.
func digits(b []byte) (v uint64, ok bool) {
	b = trim(b)
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, x := range b {
		if x < '0' || x > '9' {
			return 0, false
		}
		v = v*10 + uint64(x-'0')
	}
	return v, true
}

// trim cuts spaces and zero bytes off.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == 0) {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	return b
}

// write puts a number where it belongs; false: it does not fit.
func (n *number) write(b []byte, v uint64) bool {
	b = b[n.off : n.off+n.size]
	if n.text {
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = '0' + byte(v%10)
			v /= 10
		}
		return v == 0
	}
	for i := range b {
		at := len(b) - 1 - i
		if n.little {
			at = i
		}
		b[at] = byte(v)
		v >>= 8
	}
	return v == 0
}

// errShape is what is wrong with a message whose parts do not fit.
type errShape struct{ why string }

func (e *errShape) Error() string { return e.why }

var (
	errParts = &errShape{"its parts do not fit into the message"}
	errID    = &errShape{"it has no number that an answer could name"}
)

func tooShort(n, least int) error {
	return fmt.Errorf("a message of %d bytes, where the least is %d", n, least)
}
