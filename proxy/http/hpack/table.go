package hpack

import "unsafe"

const (
	// TableSize is the most that a dynamic table holds, as RFC 7541 4.1 counts.
	TableSize = 4096
	overhead  = 32 // of an entry
	// minData and minEntries are what a table begins with.
	minData    = 512
	minEntries = 16
)

// entry is a field in a dynamic table. Its bytes are data[at:]: the name, unless it
// is a name of the static table, and the value.
type entry struct {
	at          uint32
	name, value uint16 // lengths
	static      uint8  // the static table's entry of that name, 0: none
	class       Class
	valueOK     bool
}

func (e *entry) size() int { return int(e.name) + int(e.value) + overhead }

// bytes is how much of data the entry takes. One byte more than its strings, so that
// no entry is empty; that is less than the overhead that it is counted with.
func (e *entry) bytes() int {
	if e.static != 0 {
		return int(e.value) + 1
	}
	return int(e.name) + int(e.value) + 1
}

// table is a dynamic table: a ring of entries, and a ring of bytes in which each
// entry is in one piece. The bytes have room for twice the entries' size when
// fully grown; then there is always a place. The zero value is an empty table of TableSize.
type table struct {
	data     []byte
	entries  []entry // a power of two of them; entry number n is at n % len
	inserted uint32  // the number of the next one; it may wrap around
	live     int
	size     int
	less     int // how much smaller than TableSize it has been made
	head     int // where the next one's bytes go
}

func (t *table) max() int { return TableSize - t.less }

// resize sets how much the table may hold, TableSize at most.
func (t *table) resize(n int) {
	t.less = TableSize - n
	t.evict(n)
}

// evict removes the oldest entries until no more than room bytes are taken.
func (t *table) evict(room int) {
	for t.size > room && t.live > 0 {
		t.size -= t.entry(t.live).size()
		t.live--
	}
}

// entry returns the k-th newest one, from 1 on.
func (t *table) entry(k int) *entry { return t.numbered(t.inserted - uint32(k)) }

func (t *table) numbered(n uint32) *entry { return &t.entries[n&uint32(len(t.entries)-1)] }

func (t *table) name(e *entry) string {
	if e.static != 0 {
		return staticTable[e.static-1].name
	}
	return text(t.data[e.at : int(e.at)+int(e.name)])
}

func (t *table) value(e *entry) string {
	at := int(e.at)
	if e.static == 0 {
		at += int(e.name)
	}
	return text(t.data[at : at+int(e.value)])
}

// text is b as a string, which changes when b does.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// add inserts a field, of which e holds static, class and valueOK; nil: it is
// larger than the table, which is empty now. name may lie in an entry, also one that is
// evicted: nothing is overwritten before it has been copied.
func (t *table) add(e entry, name, value string) *entry {
	size := len(name) + len(value) + overhead
	t.evict(max(t.max()-size, 0))
	if size > t.max() {
		return nil
	}
	e.name, e.value = uint16(len(name)), uint16(len(value))
	if t.live == len(t.entries) {
		t.growEntries()
	}
	at := t.place(e.bytes())
	e.at = uint32(at)
	t.head = at + e.bytes()
	if e.static == 0 {
		at += copy(t.data[at:], name)
	}
	copy(t.data[at:], value)
	added := t.numbered(t.inserted)
	*added = e
	t.inserted++
	t.live++
	t.size += size
	return added
}

// place finds room for n bytes in one piece.
func (t *table) place(n int) int {
	for {
		if t.live == 0 {
			t.head = 0
			if n <= len(t.data) {
				return 0
			}
		} else if tail := int(t.entry(t.live).at); t.head > tail {
			if n <= len(t.data)-t.head {
				return t.head
			}
			if n <= tail {
				return 0
			}
		} else if n <= tail-t.head {
			return t.head
		}
		t.growData()
	}
}

// growData moves all entries into a ring of twice the size.
func (t *table) growData() {
	data, head := make([]byte, max(2*len(t.data), minData)), 0
	for k := t.live; k > 0; k-- {
		e := t.entry(k)
		n := e.bytes()
		copy(data[head:], t.data[e.at:int(e.at)+n])
		e.at = uint32(head)
		head += n
	}
	t.data, t.head = data, head
}

func (t *table) growEntries() {
	grown := table{entries: make([]entry, max(2*len(t.entries), minEntries)), inserted: t.inserted}
	for k := t.live; k > 0; k-- {
		*grown.entry(k) = *t.entry(k)
	}
	t.entries = grown.entries
}
