package http

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
)

// moody does what the request's path asks for: /ok/N, /abort/N, /early, /stall.
func moody(w nethttp.ResponseWriter, r *nethttp.Request) {
	_, rest, _ := strings.Cut(r.URL.Path, "/")
	mood, arg, _ := strings.Cut(rest, "/")
	n, _ := strconv.Atoi(arg)
	switch mood {
	case "ok":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(w, "%d;", len(b))
		_, _ = io.WriteString(w, strings.Repeat("z", n))
	case "abort":
		_, _ = io.WriteString(w, strings.Repeat("z", n))
		panic(nethttp.ErrAbortHandler)
	case "early":
		w.WriteHeader(413)
	case "stall":
		w.WriteHeader(200)
		_ = nethttp.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// TestHammer: many clients of both versions over both upstream versions, some
// of which hang up, with upstreams that break off, while routes and clusters are
// replaced all the time. What should work works, and nothing is left behind.
func TestHammer(t *testing.T) {
	up := backend(t, moody)
	spec := func(name string, p cluster.Protocol, v int) *cluster.Spec {
		s := upstreamSpec(name, up)
		s.Protocol, s.Version = p, strconv.Itoa(v)
		s.HTTP.MaxRequestsPerConnection = 50
		s.Breakers[0].Connections, s.Breakers[0].Pending, s.Breakers[0].Requests = 10_000, 10_000, 10_000
		return s
	}
	const enough = 1000
	var table atomic.Pointer[route.Table]
	makeTable := func() *route.Table {
		two := to("two", retry(route.RetryPolicy{On: route.RetryConnectFailure | route.RetryRefusedStream, Retries: 2}))
		two.Match.Headers = []route.HeaderMatch{{Name: "x-two"}}
		return compile(t, routes(two, to("one")))
	}
	table.Store(makeTable())
	k := start(t, routes(to("one")), func(c *ManagerConfig) { c.Routes = table.Load; c.BufferLimit = 64 << 10 },
		spec("one", cluster.HTTP1, 0), spec("two", cluster.HTTP2, 0))
	clients := []*nethttp.Client{client(t), client2(t)}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	var wg sync.WaitGroup
	var good atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil && good.Load() < enough {
				hammerOnce(t, rnd, clients[i%2], k, &good)
			}
		})
	}
	wg.Go(func() {
		for v := 1; ctx.Err() == nil && good.Load() < enough; v++ {
			table.Store(makeTable())
			if v%5 == 0 {
				if err := k.clusters.Update([]*cluster.Spec{spec("one", cluster.HTTP1, v), spec("two", cluster.HTTP2, v)}, nil); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	wg.Wait()
	if n := good.Load(); n < enough {
		t.Errorf("only %d requests were good", n)
	}
	balanced(t, k)
}

// hammerOnce does one random request.
func hammerOnce(t *testing.T, rnd *rand.Rand, c *nethttp.Client, k *kit, good *atomic.Int64) {
	size, want := rnd.IntN(200_000), rnd.IntN(200_000)
	mood := rnd.IntN(10)
	path := "/ok/" + strconv.Itoa(want)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch mood {
	case 0:
		path = "/abort/" + strconv.Itoa(want)
	case 1:
		path = "/early"
	case 2:
		path = "/stall"
		time.AfterFunc(time.Duration(rnd.IntN(20))*time.Millisecond, cancel)
	case 3:
		time.AfterFunc(time.Duration(rnd.IntN(3000))*time.Microsecond, cancel)
	}
	var body io.Reader
	method := "GET"
	if rnd.IntN(2) == 0 {
		method, body = "POST", strings.NewReader(strings.Repeat("b", size))
	} else {
		size = 0
	}
	req, err := nethttp.NewRequestWithContext(ctx, method, k.url(path), body)
	if err != nil {
		t.Error(err)
		return
	}
	if rnd.IntN(2) == 0 {
		req.Header.Set("x-two", "1")
	}
	res, err := c.Do(req)
	if err != nil {
		if mood > 3 {
			t.Errorf("%s %s (%d bytes): %v", method, path, size, err)
		}
		return
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	if mood <= 3 {
		return
	}
	if head := strconv.Itoa(size) + ";"; err != nil || res.StatusCode != 200 || len(b) != len(head)+want || !strings.HasPrefix(string(b), head) {
		t.Errorf("%s %s (%d bytes): status %d, %d bytes %.80q, %v", method, path, size, res.StatusCode, len(b), b, err)
		return
	}
	good.Add(1)
}
