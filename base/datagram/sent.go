package datagram

import (
	"net"
	"strconv"
)

// Sent is what became of a Writer's datagrams.
type Sent struct {
	Datagrams, Failed int
	// Bytes of those that were sent.
	Bytes uint64
	// Err is why the last one that failed did; nil: none has.
	Err error
}

// zone names an interface, by which link-local addresses are told apart.
func zone(scope uint32) string {
	if i, err := net.InterfaceByIndex(int(scope)); err == nil {
		return i.Name
	}
	return strconv.Itoa(int(scope))
}

// scope is the number of a zone; 0: none.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.Atoi(zone)
	return uint32(n)
}
