package transport

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// Pair makes two connected unix stream sockets: a connection inside the process
// that all hosts serve like any other.
func Pair() (a, b net.Conn, err error) {
	fds, err := pairFDs()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	if a, err = connOf(fds[0]); err != nil {
		_ = syscall.Close(fds[1])
		return nil, nil, err
	}
	if b, err = connOf(fds[1]); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// connOf takes fd over.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "pair")
	defer f.Close() // FileConn makes its own
	return net.FileConn(f)
}
