package redis

import (
	"bytes"
	"strings"
)

// slots of a Redis cluster.
const slots = 1 << 14

// crcTable is that of CRC-16/XMODEM (polynomial 0x1021), which Redis hashes keys with.
var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

// slotOf is the slot of a key, by its hash tag where it has one.
func slotOf(key []byte) int {
	var c uint16
	for _, b := range tag(key) {
		c = c<<8 ^ crcTable[byte(c>>8)^b]
	}
	return int(c) & (slots - 1)
}

// tag is what stands in the first braces of a key, if that is something; else the key.
func tag(key []byte) []byte {
	if i := bytes.IndexByte(key, '{'); i >= 0 {
		if n := bytes.IndexByte(key[i+1:], '}'); n > 0 {
			return key[i+1 : i+1+n]
		}
	}
	return key
}

// table finds the route of a key: by length, the longest first, then by prefix.
type table struct {
	lengths []int
	by      map[string]*Route
	other   *Route
	fold    bool
}

func newTable(c *Config) table {
	t := table{by: map[string]*Route{}, other: c.Default, fold: c.IgnoreCase}
	seen := map[int]bool{}
	for i := range c.Routes {
		r := &c.Routes[i]
		prefix := r.Prefix
		if t.fold {
			prefix = strings.ToLower(prefix)
		}
		t.by[prefix] = r
		if n := len(prefix); !seen[n] {
			seen[n] = true
			at := len(t.lengths)
			for at > 0 && t.lengths[at-1] < n {
				at--
			}
			t.lengths = append(t.lengths[:at], append([]int{n}, t.lengths[at:]...)...)
		}
	}
	return t
}

// find returns nil where no route is.
func (t *table) find(key []byte) *Route {
	for _, n := range t.lengths {
		if n > len(key) {
			continue
		}
		prefix := key[:n]
		if t.fold {
			prefix = bytes.ToLower(prefix)
		}
		if r := t.by[string(prefix)]; r != nil {
			return r
		}
	}
	return t.other
}

// rewrites tells whether keys become others.
func (r *Route) rewrites() bool { return r.Strip && r.Prefix != "" || r.Format != "" }

// appendKey appends what a key is called upstream.
func (r *Route) appendKey(out, key []byte) []byte {
	if r.Strip && len(key) >= len(r.Prefix) {
		key = key[len(r.Prefix):]
	}
	if r.Format == "" {
		return append(out, key...)
	}
	for rest := r.Format; ; {
		before, after, found := strings.Cut(rest, "%KEY%")
		out = append(out, before...)
		if !found {
			return out
		}
		out, rest = append(out, key...), after
	}
}
