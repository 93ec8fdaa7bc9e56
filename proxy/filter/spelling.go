package filter

// Spelling says how the names of fields are written in HTTP/1, where their case means nothing
// and some peers mind it all the same.
type Spelling uint8

// Spellings.
const (
	Lower Spelling = iota
	// Proper begins words with capitals: X-Request-Id.
	Proper
	// AsWritten is as the peer wrote them that the head came from; others are in lower case.
	AsWritten
	// AsWrittenOrProper is AsWritten, with Proper for others.
	AsWrittenOrProper
)

// KeepSpelling has h note how names are written (AsWritten), by Spell.
func (h *Headers) KeepSpelling(s Spelling) { h.spelling = s }

// Spelling is what KeepSpelling has been told, Lower when nothing.
func (h *Headers) Spelling() Spelling { return h.spelling }

// Spell notes how the peer writes a name. The first of several counts.
func (h *Headers) Spell(name []byte) {
	if _, ok := h.spelled(string(name)); !ok {
		h.spellings = append(h.spellings, h.Keep(name))
	}
}

// Spelled is how the peer wrote a name in lower case; false: it wrote none such.
func (h *Headers) Spelled(name string) (string, bool) { return h.spelled(name) }

func (h *Headers) spelled(name string) (string, bool) {
	for _, s := range h.spellings {
		if len(s) == len(name) && equalFold(s, name) {
			return s, true
		}
	}
	return "", false
}

// equalFold compares strings of one length; ASCII only.
func equalFold(a, b string) bool {
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
