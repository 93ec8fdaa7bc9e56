package hpack

// Field is a decoded field. Its strings are valid until the next call of the Decoder, but
// a Fixed one is for ever.
type Field struct {
	Name, Value           string
	Class                 Class
	ValueOK               bool // see ValueOK
	FixedName, FixedValue bool
}

// Error says why a block does not decode.
type Error string

// Error is the reason.
func (e Error) Error() string { return "hpack: " + string(e) }

// Errors.
const (
	ErrTruncated Error = "block ends inside of a field"
	ErrIndex     Error = "no entry of that index"
	ErrInteger   Error = "integer too large"
	ErrSize      Error = "table size larger than the limit"
	ErrSizeLate  Error = "table size after a field"
	ErrHuffman   Error = "bad Huffman code"
)

const (
	// maxInteger is more than any length or index may be.
	maxInteger = 1 << 28
	// keepScratch bounds what is kept for the next block.
	keepScratch = 8 << 10
)

// Decoder decodes the header blocks of one direction of a connection. The zero value is ready.
type Decoder struct {
	table   table
	rest    []byte // of the block
	begun   bool   // a field has come
	scratch []byte
	err     error
}

// Start begins a block, which must be whole, and stay as it is until it is done.
func (d *Decoder) Start(block []byte) {
	d.rest, d.begun = block, false
	if cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
}

// Err is why Next stopped before the block's end; it remains.
func (d *Decoder) Err() error { return d.err }

func (d *Decoder) fail(e Error) bool {
	d.err, d.rest = e, nil
	return false
}

// Next decodes the next field into f; false: there is none, or an error. Every block has to be
// decoded to its end.
func (d *Decoder) Next(f *Field) bool {
	for d.err == nil && len(d.rest) > 0 {
		switch b := d.rest[0]; {
		case b >= 0x80:
			d.begun = true
			return d.indexed(f)
		case b >= 0x40:
			d.begun = true
			return d.literal(f, 6)
		case b < 0x20: // without indexing, or never to be indexed
			d.begun = true
			return d.literal(f, 4)
		default:
			d.sizeUpdate()
		}
	}
	d.rest = nil // the block is its owner's again
	return false
}

func (d *Decoder) sizeUpdate() {
	n, ok := d.integer(5)
	switch {
	case !ok:
	case d.begun:
		d.fail(ErrSizeLate)
	case n > TableSize:
		d.fail(ErrSize)
	default:
		d.table.resize(n)
	}
}

func (d *Decoder) indexed(f *Field) bool {
	i, ok := d.integer(7)
	if !ok {
		return false
	}
	if i > staticCount {
		i -= staticCount
		if i > d.table.live {
			return d.fail(ErrIndex)
		}
		d.stored(f, d.table.entry(i))
		return true
	}
	if i == 0 {
		return d.fail(ErrIndex)
	}
	s := &staticTable[i-1]
	*f = Field{Name: s.name, Value: s.value, Class: staticClass[i-1], ValueOK: true, FixedName: true, FixedValue: true}
	return true
}

// stored makes f of an entry.
func (d *Decoder) stored(f *Field, e *entry) {
	*f = Field{Name: d.table.name(e), Value: d.table.value(e), Class: e.class, ValueOK: e.valueOK, FixedName: e.static != 0}
}

// literal decodes a field that is spelled out; a prefix of 6 bits inserts it.
func (d *Decoder) literal(f *Field, prefix uint) bool {
	i, ok := d.integer(prefix)
	if !ok {
		return false
	}
	d.scratch = d.scratch[:0]
	var e entry
	var name string
	switch {
	case i == 0:
		if name, ok = d.text(); !ok {
			return false
		}
		e.class = classOf(name)
	case i <= staticCount:
		name, e.static, e.class = staticTable[i-1].name, uint8(i), staticClass[i-1]
	case i-staticCount > d.table.live:
		return d.fail(ErrIndex)
	default:
		old := d.table.entry(i - staticCount)
		name, e.static, e.class = d.table.name(old), old.static, old.class
	}
	value, ok := d.text()
	if !ok {
		return false
	}
	e.valueOK = ValueOK(value)
	if prefix == 6 {
		if added := d.table.add(e, name, value); added != nil {
			d.stored(f, added)
			return true
		}
	}
	*f = Field{Name: name, Value: value, Class: e.class, ValueOK: e.valueOK, FixedName: e.static != 0}
	return true
}

// text decodes a string literal (RFC 7541 5.2).
func (d *Decoder) text() (string, bool) {
	if len(d.rest) == 0 {
		return "", d.fail(ErrTruncated)
	}
	coded := d.rest[0] >= 0x80
	n, ok := d.integer(7)
	if !ok {
		return "", false
	}
	if n > len(d.rest) {
		return "", d.fail(ErrTruncated)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	if !coded {
		return text(b), true
	}
	at := len(d.scratch)
	if d.scratch, ok = appendHuffman(d.scratch, b); !ok {
		return "", d.fail(ErrHuffman)
	}
	return text(d.scratch[at:]), true
}

// integer decodes an integer with a prefix of so many bits (RFC 7541 5.1).
func (d *Decoder) integer(prefix uint) (int, bool) {
	most := 1<<prefix - 1
	n := int(d.rest[0]) & most
	if n < most {
		d.rest = d.rest[1:]
		return n, true
	}
	for i, shift := 1, 0; i < len(d.rest); i, shift = i+1, shift+7 {
		b := int(d.rest[i])
		if n += b & 0x7f << shift; n > maxInteger || shift > 21 {
			return 0, d.fail(ErrInteger)
		}
		if b < 0x80 {
			d.rest = d.rest[i+1:]
			return n, true
		}
	}
	return 0, d.fail(ErrTruncated)
}
