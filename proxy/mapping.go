package proxy

import (
	"strconv"
	"strings"
)

// mapping is a line of /proc/PID/maps.
type mapping struct {
	from, to    uintptr
	perms, path string
}

// parseMapping reads a line like
// "00400000-0149d000 r-xp 00000000 fe:00 4711   /usr/bin/weft-proxy".
func parseMapping(line string) (m mapping, ok bool) {
	const fields = 6 // addresses, permissions, offset, device, inode, path
	f := strings.Fields(line)
	if len(f) != fields {
		return m, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	a, err := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if err != nil || err2 != nil || b <= a {
		return m, false
	}
	return mapping{uintptr(a), uintptr(b), f[1], f[5]}, true
}
