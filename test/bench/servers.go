package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// server is a listener whose connections are served until it is closed.
type server struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (s *server) Addr() string { return s.Listener.Addr().String() }

// Close ends all connections too.
func (s *server) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
	return err
}

func listen(each func(net.Conn)) (upstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{Listener: l, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			go each(c)
		}
	}()
	return s, nil
}

// http1Server answers every request with the same response: as little work as
// can be, so that it does not take the proxy's core.
func http1Server(size int) func() (upstream, error) {
	response := append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-upstream: bench\r\ncontent-length: %d\r\n\r\n", size),
		bytes.Repeat([]byte("x"), size)...)
	return func() (upstream, error) {
		return listen(func(c net.Conn) {
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 { // the end of a request without a body
					if _, err := c.Write(response); err != nil {
						return
					}
				}
			}
		})
	}
}

type h2Server struct {
	*http.Server
	l net.Listener
}

func (s *h2Server) Addr() string { return s.l.Addr().String() }

func http2Server(size int) func() (upstream, error) {
	body := bytes.Repeat([]byte("x"), size)
	return func() (upstream, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write(body)
		})
		s := &h2Server{&http.Server{Handler: h2c.NewHandler(h, &http2.Server{MaxConcurrentStreams: 1000}), ReadHeaderTimeout: time.Minute}, l}
		go func() { _ = s.Serve(l) }()
		return s, nil
	}
}

func bulkServer() (upstream, error) {
	return listen(func(c net.Conn) {
		chunk := make([]byte, 256<<10)
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
}
