package thrift

// walk is how far a reader has come in a value whose end is not there yet: it goes on there when more bytes have come,
// and looks at nothing twice. The zero value stands before the value.
type walk struct {
	at    int // where to go on
	depth int
	open  [maxDepth]level // structs and containers that are not over
}

// level is a struct (left -1), or a container with that many values to come. In maps, keys and values take turns.
type level struct {
	left       int32
	key, value byte // their types; value 0: no map
}

func (r *reader) push(w *walk, l level) {
	if r.bad {
		return
	}
	if w.depth == maxDepth {
		r.wrong(errDeep)
		return
	}
	w.open[w.depth] = l
	w.depth++
}

// structure goes over a struct, from where w is.
func (r *reader) structure(w *walk) {
	if w.at == 0 {
		r.push(w, level{left: -1})
	} else {
		r.i = w.at
	}
	r.run(w)
}

// skip goes over the value of a field.
func (r *reader) skip(typ byte) {
	w := walk{}
	r.value(&w, typ, true)
	r.run(&w)
}

// run goes on until nothing is open. Each step is short; one for which there are not enough bytes is made anew.
func (r *reader) run(w *walk) {
	for w.depth > 0 && !r.bad {
		w.at = r.i
		l := &w.open[w.depth-1]
		switch {
		case l.left < 0:
			typ, _ := r.field(0)
			if typ != 0 {
				r.value(w, typ, true)
			} else if !r.bad {
				w.depth--
			}
		case l.left == 0:
			w.depth--
		default:
			typ := l.key
			if l.value != 0 && l.left%2 == 1 {
				typ = l.value
			}
			if r.value(w, typ, false); !r.bad {
				l.left--
			}
		}
	}
}

// many begins a container of n values, or pairs.
func (r *reader) many(w *walk, n int, l level) {
	if n < 0 || n > len(r.b)-r.i { // each has a byte at least
		r.bad, r.i = true, len(r.b)
		return
	}
	l.left = int32(n) //nolint:gosec // no more than there are bytes
	if l.value != 0 {
		l.left *= 2
	}
	r.push(w, l)
}

// value goes over a value, or begins one that has others in it. inField: booleans of the compact protocol lie in the
// field's head.
func (r *reader) value(w *walk, typ byte, inField bool) {
	if r.compact {
		r.compactValue(w, typ, inField)
		return
	}
	switch typ {
	case 2, 3: // bool, byte
		r.bytes(1)
	case 6:
		r.bytes(2)
	case typeI32:
		r.bytes(4)
	case 4, 10: // double, i64
		r.bytes(8)
	case 16: // uuid
		r.bytes(16)
	case typeString:
		r.bytes(int(int32(r.uint32()))) //nolint:gosec // bytes refuses what is negative
	case 12:
		r.push(w, level{left: -1})
	case 13:
		l := level{key: r.byte(), value: r.byte()}
		r.many(w, int(int32(r.uint32())), l) //nolint:gosec // many refuses what is negative
	case 14, 15:
		l := level{key: r.byte()}
		r.many(w, int(int32(r.uint32())), l) //nolint:gosec // many refuses what is negative
	default:
		r.wrong(errType)
	}
}

func (r *reader) compactValue(w *walk, typ byte, inField bool) {
	switch typ {
	case 1, 2: // true, false
		if !inField {
			r.bytes(1)
		}
	case 3:
		r.bytes(1)
	case 4, 5, 6: // integers
		r.varint()
	case 7:
		r.bytes(8)
	case 8:
		r.bytes(int(min(r.varint(), 1<<31))) //nolint:gosec // bounded
	case 9, 10:
		c := r.byte()
		n := int(c >> 4)
		if n == 15 {
			n = int(min(r.varint(), 1<<31)) //nolint:gosec // bounded
		}
		r.many(w, n, level{key: c & 0xf})
	case 11:
		n := int(min(r.varint(), 1<<31)) //nolint:gosec // bounded
		if n == 0 {
			return
		}
		c := r.byte()
		r.many(w, n, level{key: c >> 4, value: c & 0xf})
	case 12:
		r.push(w, level{left: -1})
	case 13:
		r.bytes(16)
	default:
		r.wrong(errType)
	}
}
