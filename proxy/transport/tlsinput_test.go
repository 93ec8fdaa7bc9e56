//go:build !race

package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
	"unsafe"
)

// TestIdleTLSHoldsNoBuffer: after records of the greatest size crypto/tls is left
// without the memory that it read them into.
func TestIdleTLSHoldsNoBuffer(t *testing.T) {
	if !tlsFields.known {
		t.Fatal("this crypto/tls has other fields: idle connections keep a buffer each")
	}
	host, peer := ends["tls"](t)
	h := echo(t, serve(host, Options{}))
	for _, n := range []int{1, 16 << 10, 100 << 10, 15<<10 + 1000, 16 << 10, 3} {
		msg, back := noise(n), make([]byte, n)
		sent := make(chan struct{})
		go func() { // a single record of the peer's may come in pieces, and its beginning alone
			defer close(sent)
			_, _ = peer.Write(msg)
		}()
		if _, err := io.ReadFull(peer, back); err != nil || string(back) != string(msg) {
			t.Fatalf("%d bytes did not come back as they went: %v", n, err)
		}
		<-sent
	}
	peer.Close()
	h.waitClose()
	raw := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(host.(*tlsConn).Conn), tlsFields.raw))
	if n := cap(raw.Bytes()); n != 0 {
		t.Errorf("crypto/tls still holds %d bytes", n)
	}
}

// TestLentInputKeepsPartOfARecord: what has come of a record stays with the connection
// until the rest comes; a reader that takes little at a time loses nothing either.
func TestLentInputKeepsPartOfARecord(t *testing.T) {
	a, b := net.Pipe()
	auth := newAuthority(t, "root")
	cert := auth.issue("", time.Hour, "test").tls
	go func() {
		c := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
		_, _ = c.Write([]byte("0123456789"))
		_, _ = c.Write([]byte("abc"))
		c.Close()
	}()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	in := newTLSInput(c)
	var got []byte
	for p := make([]byte, 4); ; {
		in.lend(false)
		n, err := c.Read(p)
		in.give()
		got = append(got, p[:n]...)
		if (in.lent != nil) != (in.plain.Len() > 0 || in.raw.Len() > 0) {
			t.Errorf("after %q: lent %v with %d and %d bytes waiting", got, in.lent != nil, in.plain.Len(), in.raw.Len())
		}
		if err != nil {
			break
		}
	}
	if string(got) != "0123456789abc" {
		t.Errorf("read %q", got)
	}
}

// TestCutOffTLSHoldsNoBuffer: a connection that ends inside of a record gives back the large
// buffer that bulk came into.
func TestCutOffTLSHoldsNoBuffer(t *testing.T) {
	host, peer := ends["tls"](t)
	before := LargeBuffers()
	h := echo(t, serve(host, Options{}))
	msg := noise(1 << 20)
	go func() { _, _ = peer.Write(msg) }()
	back := make([]byte, len(msg))
	if _, err := io.ReadFull(peer, back); err != nil || !bytes.Equal(back, msg) {
		t.Fatalf("what was sent did not come back: %v", err)
	}
	raw := peer.(interface{ NetConn() net.Conn }).NetConn()
	if _, err := raw.Write(append([]byte{23, 3, 3, 0x40, 0}, noise(100)...)); err != nil { // the head of a full record, and its beginning
		t.Fatal(err)
	}
	_ = raw.Close()
	h.waitClose()
	if n := LargeBuffers(); n > before {
		t.Errorf("%d bytes of large buffers are in use, %d before", n, before)
	}
}
