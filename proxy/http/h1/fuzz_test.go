package h1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

var seeds = []string{
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n",
	"GET http://a/ HTTP/1.0\r\nConnection: keep-alive, x\r\nX: y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nxyz",
	"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nxyz",
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nabc",
	"HTTP/1.0 200 OK\r\n\r\nabc",
}

// FuzzServer checks that events and output do not depend on how the bytes were
// cut, and that nothing panics.
func FuzzServer(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		opt := Options{HTTP10: true, Trailers: true, MaxHeadBytes: 512, MaxFields: 8}
		run := func(step int) (events []string, out string) {
			r, c := answering(opt)
			err := feed(c, string(in), step)
			if err == nil {
				err = c.End()
			}
			events = r.events()
			if err != nil {
				events = append(events, err.Error())
			}
			return events, string(c.Output())
		}
		whole, out := run(len(in) + 1)
		pieces, out2 := run(int(step%16) + 1)
		if d := cmp.Diff(whole, pieces); d != "" {
			t.Errorf("events (-whole +pieces):\n%s", d)
		}
		if d := cmp.Diff(out, out2); d != "" {
			t.Errorf("output (-whole +pieces):\n%s", d)
		}
	})
}

// FuzzClient does the same for responses, to several kinds of requests.
func FuzzClient(f *testing.F) {
	for i, s := range seeds {
		f.Add([]byte(s), uint8(1), uint8(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, step, kind uint8) {
		h := request([]string{"GET", "HEAD", "CONNECT", "POST"}[kind%4], "/")
		if kind%8 > 3 && kind%4 != 2 {
			h.Protocol = "websocket"
		}
		run := func(step int) []string {
			r, c := newClient(h, h.Protocol == "" && kind%4 != 2, Options{Trailers: true, MaxHeadBytes: 512, MaxFields: 8})
			err := feed(c, string(in), step)
			if err == nil {
				err = c.End()
			}
			if err != nil {
				r.add("%v", err)
			}
			return r.events()
		}
		if d := cmp.Diff(run(len(in)+1), run(int(step%16)+1)); d != "" {
			t.Errorf("events (-whole +pieces):\n%s", d)
		}
	})
}

// FuzzRoundTrip: what a client writes for a parsed request, a server parses to the same request.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range seeds[:6] {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, c := answering(Options{Trailers: true})
		if feed(c, string(in), 1<<20) != nil || len(r.heads) == 0 {
			return
		}
		h := r.heads[0]
		end := r.ends[0]
		_, client := newClient(h, end, Options{})
		if !end {
			client.Data(1, nil, true)
		}
		r2, s2 := answering(Options{})
		if err := feed(s2, string(client.Output()), 1<<20); err != nil && h.Path != "*" {
			t.Fatalf("%q refused: %v", client.Output(), err)
		}
		if len(r2.heads) > 1 {
			t.Fatalf("%q is %d requests", client.Output(), len(r2.heads))
		}
		if len(r2.heads) == 1 {
			if g := r2.heads[0]; g.Method != h.Method || g.Authority != h.Authority || g.Path != h.Path || g.Protocol != h.Protocol {
				t.Errorf("%s became %s", head(h), head(g))
			}
		}
	})
}
