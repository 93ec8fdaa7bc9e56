package hpack

// Class tells names apart that HTTP/2 treats specially.
type Class uint8

// Classes.
const (
	// Regular is any other name that is a token in lower case.
	Regular Class = iota
	// BadName is no token, or not in lower case.
	BadName
	// Underscored is like Regular, with an underscore in it.
	Underscored
	// Hop are connection, keep-alive, proxy-connection, transfer-encoding and upgrade.
	Hop
	TE
	ContentLength
	Host
	Cookie
	// Pseudo is the first of those that begin with a colon; it is an unknown one.
	Pseudo
	Method
	Scheme
	Authority
	Path
	Protocol
	Status
)

// classOf looks at a name.
func classOf(name string) Class {
	if name == "" {
		return BadName
	}
	if name[0] == ':' {
		return pseudoClass(name)
	}
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return Hop
	case "te":
		return TE
	case "content-length":
		return ContentLength
	case "host":
		return Host
	case "cookie":
		return Cookie
	}
	c := Regular
	for i := range len(name) {
		switch nameBytes[name[i]] {
		case 0:
			return BadName
		case 2:
			c = Underscored
		}
	}
	return c
}

func pseudoClass(name string) Class {
	switch name {
	case ":method":
		return Method
	case ":scheme":
		return Scheme
	case ":authority":
		return Authority
	case ":path":
		return Path
	case ":protocol":
		return Protocol
	case ":status":
		return Status
	}
	return Pseudo
}

// nameBytes has 1 for what a name may hold, and 2 for the underscore.
var nameBytes = func() (t [256]uint8) {
	for _, c := range []byte("0123456789abcdefghijklmnopqrstuvwxyz!#$%&'*+-.^`|~") {
		t[c] = 1
	}
	t['_'] = 2
	return t
}()

// ValueOK tells whether a value holds no control characters but tabs.
func ValueOK(v string) bool {
	const ones = 0x0101010101010101
	i := 0
	for ; i+8 <= len(v); i += 8 {
		w := word(v[i:])
		// The high bit of each byte that is below 0x20, or 0x7f, is set; a borrow may set
		// one above it too, so the bytes are looked at.
		low := (w - 0x20*ones) &^ w
		del := w ^ 0x7f*ones
		del = (del - ones) &^ del
		if (low|del)&(0x80*ones) != 0 && !plainBytes(v[i:i+8]) {
			return false
		}
	}
	return plainBytes(v[i:])
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func plainBytes(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
