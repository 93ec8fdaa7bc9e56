package handover

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
)

// backends are the other end.
type backends struct {
	t               *testing.T
	http, grpc, tcp string // host:port

	requests atomic.Uint64 // HTTP requests, gRPC streams and upgrades that came whole
	tcpBytes atomic.Uint64 // received over TCP
	resets   atomic.Uint64
	cuts     bool // connections may be cut
}

func newBackends(t *testing.T) *backends {
	b := &backends{t: t}
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	rpc := listen()
	gs := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(b.stream))
	go func() { _ = gs.Serve(rpc) }()
	var wg sync.WaitGroup
	serve := func(ln net.Listener, conn func(net.Conn)) {
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { conn(c) })
			}
		})
	}
	web, tcp := listen(), listen()
	serve(web, b.web)
	serve(tcp, func(c net.Conn) { b.bytes(c, c, &b.tcpBytes) })
	t.Cleanup(func() {
		gs.Stop()
		web.Close()
		tcp.Close()
		wg.Wait()
	})
	b.http, b.grpc, b.tcp = web.Addr().String(), rpc.Addr().String(), tcp.Addr().String()
	return b
}

// web is a connection of an HTTP/1 server that answers bodies with themselves, and what
// asks for an upgrade with a stream that does the same. It is written by hand because
// net/http's took as much time as a whole client.
func (b *backends) web(c net.Conn) {
	r := bufio.NewReaderSize(c, 4096)
	var out []byte
	for {
		length, upgrade, err := requestHead(r)
		if err == io.EOF { // between two requests
			c.Close()
			return
		}
		if err == nil && upgrade {
			b.requests.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
			b.bytes(c, r, nil)
			return
		}
		out = append(out[:0], "HTTP/1.1 200 OK\r\ncontent-length: "...)
		out = append(strconv.AppendInt(out, int64(length), 10), "\r\n\r\n"...)
		head := len(out)
		out = append(out, make([]byte, length)...)
		if err == nil {
			_, err = io.ReadFull(r, out[head:])
		}
		if err != nil {
			b.resets.Add(1)
			b.t.Errorf("backend: request: %v", err)
			c.Close()
			return
		}
		b.requests.Add(1)
		_, _ = c.Write(out) // an error shows at the client
	}
}

// requestHead reads a head as the proxy writes it. io.EOF: the connection has ended
// before it.
func requestHead(r *bufio.Reader) (length int, upgrade bool, err error) {
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if first && len(line) == 0 && (err == io.EOF || !reset(err)) {
			return 0, false, io.EOF
		}
		if err != nil {
			return 0, false, fmt.Errorf("in a head, after %q: %w", line, err)
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		switch {
		case len(name) == 0:
			return length, upgrade, nil
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, false, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			return 0, false, errors.New("chunks, though all clients say lengths")
		case bytes.EqualFold(name, []byte("upgrade")):
			upgrade = true
		}
	}
}

func (b *backends) stream(_ any, st grpc.ServerStream) error {
	b.requests.Add(1)
	for {
		var m []byte
		switch err := st.RecvMsg(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			b.resets.Add(1)
			b.t.Errorf("backend: stream: %v", err)
			return err
		}
		if err := st.SendMsg(&m); err != nil {
			return err
		}
	}
}

// bytes gives back what it gets until the other side has said all.
func (b *backends) bytes(c net.Conn, r io.Reader, count *atomic.Uint64) {
	defer c.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if count != nil {
			count.Add(uint64(n))
		}
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				b.resets.Add(1)
				b.t.Errorf("backend: write: %v", err)
				return
			}
		}
		if err != nil {
			if reset(err) && !b.cuts {
				b.resets.Add(1)
				b.t.Errorf("backend: read: %v", err)
			}
			return
		}
	}
}
