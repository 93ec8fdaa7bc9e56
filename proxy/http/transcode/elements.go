package transcode

import "errors"

// elements finds the elements of a JSON array that comes in pieces. It knows where they
// begin and end, not whether they are JSON.
type elements struct {
	state   byte // '[': before the array, ',': between elements, 'e': in one, ']': behind it
	depth   int
	text    bool // inside of a string
	escaped bool
	partial []byte
	limit   int
}

var (
	errNoArray  = errors.New("the body of a stream is no JSON array")
	errTooLarge = errors.New("a message is too large")
)

// feed calls f with each element that is complete, which is good until f returns.
func (e *elements) feed(b []byte, f func(element []byte) error) error {
	if e.state == 0 {
		e.state = '['
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		space := c == ' ' || c == '\t' || c == '\r' || c == '\n'
		switch e.state {
		case '[':
			if c == '[' {
				e.state = ','
			} else if !space {
				return errNoArray
			}
			continue
		case ']':
			if !space {
				return errNoArray
			}
			continue
		case ',':
			if space || c == ',' {
				continue
			}
			if c == ']' {
				e.state = ']'
				continue
			}
			e.state = 'e'
		}
		if e.within(c) {
			if err := f(e.partial); err != nil {
				return err
			}
			e.partial = e.partial[:0]
			if e.state = ','; c == ']' {
				e.state = ']'
			}
			continue
		}
		if e.partial = append(e.partial, c); len(e.partial) > e.limit {
			return errTooLarge
		}
	}
	return nil
}

// within follows one byte of an element, and tells whether the element has ended before it.
func (e *elements) within(c byte) bool {
	switch {
	case e.escaped:
		e.escaped = false
	case e.text:
		e.escaped = c == '\\'
		e.text = c != '"'
	case c == '"':
		e.text = true
	case c == '{' || c == '[':
		e.depth++
	case c == ']' && e.depth == 0, c == ',' && e.depth == 0:
		return true
	case c == '}' || c == ']':
		e.depth--
	}
	return false
}

// done tells whether all has come.
func (e *elements) done() bool { return e.state == ']' || e.state == 0 }
