//go:build !linux

package handsocket

import "net"

// sameUser leaves it to the permissions of the socket's folder.
func sameUser(*net.UnixConn) error { return nil }
