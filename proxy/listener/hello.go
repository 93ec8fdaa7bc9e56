package listener

import "encoding/binary"

// hello is what a ClientHello says in clear.
type hello struct {
	sni  string
	alpn []string
}

// seen is what a look at the first bytes has brought.
type seen uint8

const (
	seenMore seen = iota // not enough bytes
	seenNo               // something else
	seenYes
)

// Sizes and types of TLS.
const (
	recordHeader    = 5
	recordHandshake = 22
	helloType       = 1
	extSNI          = 0
	extALPN         = 16
)

// parseHello looks for a TLS ClientHello at the beginning of b.
func parseHello(b []byte) (hello, seen) {
	msg, s := handshakeMessage(b)
	if s != seenYes {
		return hello{}, s
	}
	h, ok := parseClientHello(msg)
	if !ok {
		return hello{}, seenNo
	}
	return h, seenYes
}

// handshakeMessage returns the body of the first handshake message, which may
// come in several records.
func handshakeMessage(b []byte) ([]byte, seen) {
	var whole []byte
	for first := true; ; first = false {
		if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
			return nil, seenNo
		}
		if len(b) < recordHeader {
			return nil, seenMore
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		if n == 0 || n > 16<<10 {
			return nil, seenNo
		}
		if first && len(b) > recordHeader && b[recordHeader] != helloType {
			return nil, seenNo
		}
		if len(b) < recordHeader+n {
			return nil, seenMore
		}
		part := b[recordHeader : recordHeader+n]
		if whole == nil {
			whole = part[:n:n] // an append below copies
		} else {
			whole = append(whole, part...)
		}
		if len(whole) >= 4 {
			size := int(whole[1])<<16 | int(whole[2])<<8 | int(whole[3])
			if len(whole) >= 4+size {
				return whole[4 : 4+size], seenYes
			}
		}
		b = b[recordHeader+n:]
	}
}

// cursor reads length-prefixed fields; ok turns false at the first that is not there.
type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) take(n int) []byte {
	if !c.ok || n > len(c.b) {
		c.ok = false
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint(bytes int) int {
	n := 0
	for _, x := range c.take(bytes) {
		n = n<<8 | int(x)
	}
	return n
}

// vector takes a field with a length of so many bytes before it.
func (c *cursor) vector(bytes int) cursor {
	v := c.take(c.uint(bytes))
	return cursor{v, c.ok}
}

func parseClientHello(msg []byte) (hello, bool) {
	c := cursor{msg, true}
	c.take(2 + 32) // version, random
	c.vector(1)    // session
	c.vector(2)    // ciphers
	c.vector(1)    // compression
	var h hello
	if c.ok && len(c.b) == 0 {
		return h, true // no extensions
	}
	exts := c.vector(2)
	for exts.ok && len(exts.b) > 0 {
		kind := exts.uint(2)
		ext := exts.vector(2)
		if !exts.ok {
			break
		}
		switch kind {
		case extSNI:
			h.sni = serverName(ext)
		case extALPN:
			h.alpn = protocols(ext)
		}
	}
	return h, c.ok && exts.ok
}

// serverName returns the host name in lower case.
func serverName(ext cursor) string {
	list := ext.vector(2)
	for list.ok && len(list.b) > 0 {
		kind := list.uint(1)
		name := list.vector(2)
		if kind == 0 && list.ok {
			return lower(name.b)
		}
	}
	return ""
}

func lower(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}

func protocols(ext cursor) []string {
	list := ext.vector(2)
	var out []string
	for list.ok && len(list.b) > 0 {
		if p := list.vector(1); list.ok {
			out = append(out, string(p.b))
		}
	}
	return out
}
