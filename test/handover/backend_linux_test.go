package handover

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	web := listen()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", b.echo)
	mux.HandleFunc("/ws", b.webSocket)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(web) }()
	rpc := listen()
	gs := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(b.stream))
	go func() { _ = gs.Serve(rpc) }()
	bytes := listen()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := bytes.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { b.bytes(c, c, &b.tcpBytes) })
		}
	})
	t.Cleanup(func() {
		srv.Close()
		gs.Stop()
		bytes.Close()
		wg.Wait()
	})
	b.http, b.grpc, b.tcp = web.Addr().String(), rpc.Addr().String(), bytes.Addr().String()
	return b
}

func (b *backends) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.resets.Add(1)
		b.t.Errorf("backend: request: %v", err)
		return
	}
	b.requests.Add(1)
	_, _ = w.Write(body)
}

func (b *backends) webSocket(w http.ResponseWriter, _ *http.Request) {
	b.requests.Add(1)
	w.Header().Set("Connection", "upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		b.t.Errorf("backend: %v", err)
		return
	}
	b.bytes(c, rw, nil)
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
