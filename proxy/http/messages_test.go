package http

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/proxy/route"
)

// toyServer answers toy messages by what they ask for; name is in its answers.
type toyServer struct {
	t    testing.TB
	name string
	ln   net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	seen []string
	cx   []net.Conn
}

func newToyServer(t testing.TB, name string) *toyServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &toyServer{t: t, name: name, ln: ln}
	s.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.cx = append(s.cx, nc)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for _, nc := range s.cx {
			nc.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *toyServer) addr() string { return s.ln.Addr().String() }

func (s *toyServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cx)
}

func (s *toyServer) saw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, "|")
}

// await returns once a message with the text has come in.
func (s *toyServer) await(text string) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.saw(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s saw no %q", s.name, text)
		}
	}
}

func (s *toyServer) serve(nc net.Conn) {
	defer nc.Close()
	var held [][]byte
	readToy(nc, func(k l7.Kind, id uint32, text string) bool {
		s.mu.Lock()
		s.seen = append(s.seen, text)
		s.mu.Unlock()
		answer := codectest.ToyMessage(l7.Response, id, fmt.Sprintf(":status=200\nserver=%s\n\n%s", s.name, text))
		switch {
		case k == l7.OneWay, k == l7.StreamReset:
			return true
		case strings.Contains(text, ":method=much"):
			answer = codectest.ToyMessage(l7.Response, id, ":status=200\n\n"+strings.Repeat("x", 1<<20-100))
		case k == l7.StreamOpen, k == l7.StreamData:
			answer = codectest.ToyMessage(l7.StreamData, id, "echo "+text)
		case k == l7.StreamEnd:
			answer = codectest.ToyMessage(l7.StreamEnd, id, "bye")
		case strings.Contains(text, ":method=die"):
			return false
		case strings.Contains(text, ":method=leave"):
			_, _ = nc.Write(codectest.ToyMessage(l7.GoAway, 0, ""))
		case strings.Contains(text, ":method=fail"):
			answer = codectest.ToyMessage(l7.Response, id, ":status=500\n\noops")
		case strings.Contains(text, ":method=hold"):
			held = append(held, answer)
			return true
		case strings.Contains(text, ":method=release"):
			for i := len(held) - 1; i >= 0; i-- { // backwards
				_, _ = nc.Write(held[i])
			}
		}
		_, _ = nc.Write(answer)
		return true
	})
}

// readToy reads messages until f does not want more.
func readToy(r io.Reader, f func(k l7.Kind, id uint32, text string) bool) {
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		for {
			k, id, text, size := codectest.SplitToy(all)
			if size == 0 {
				break
			}
			all = all[size:]
			if !f(k, id, text) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// toyClient is a connection to the proxy.
type toyClient struct {
	t  testing.TB
	nc net.Conn
	in chan string
}

func dialToy(t testing.TB, addr string) *toyClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &toyClient{t: t, nc: nc, in: make(chan string, 100)}
	var wg sync.WaitGroup
	wg.Go(func() {
		readToy(nc, func(k l7.Kind, id uint32, text string) bool {
			c.in <- fmt.Sprintf("%d %d %s", k, id, text)
			return true
		})
		close(c.in)
	})
	t.Cleanup(func() { nc.Close(); wg.Wait() })
	return c
}

func (c *toyClient) send(k l7.Kind, id uint32, text string) {
	if _, err := c.nc.Write(codectest.ToyMessage(k, id, text)); err != nil {
		c.t.Fatal(err)
	}
}

// next is the next message, "kind id text".
func (c *toyClient) next() string {
	c.t.Helper()
	select {
	case s, ok := <-c.in:
		if !ok {
			return "closed"
		}
		return s
	case <-time.After(time.Minute):
		c.t.Fatal("no message")
		return ""
	}
}

func (c *toyClient) expect(want string) {
	c.t.Helper()
	if got := c.next(); got != want {
		c.t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func speakToy(order l7.Order) func(*ManagerConfig) {
	p := codectest.Toy(order)
	return func(c *ManagerConfig) { c.Messages, c.NoRequestID = p, true }
}

// TestMessages: many requests of one connection at a time, answered out of order, with the ids of the client.
func TestMessages(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	c := dialToy(t, k.addr)
	// The connection is there before requests follow each other: those that wait for one begin in any order.
	c.send(l7.Request, 1, ":method=first\n\n")
	c.expect("1 1 :status=200\nserver=a\n\n:method=first\n\n")
	k.log.next(t)
	c.send(l7.Request, 77, ":service=s\n:method=hold\n\n1")
	c.send(l7.Request, 78, ":service=s\n:method=hold\n\n2")
	c.send(l7.Request, 77, ":service=s\n:method=release\n\n3") // the id of one under way: none of our business
	c.expect("1 78 :status=200\nserver=a\n\n:service=s\n:method=hold\n\n2")
	c.expect("1 77 :status=200\nserver=a\n\n:service=s\n:method=hold\n\n1")
	c.expect("1 77 :status=200\nserver=a\n\n:service=s\n:method=release\n\n3")
	c.send(l7.Heartbeat, 5, "")
	c.expect("8 5 :status=200\n\n: ")
	for range 3 {
		if e := k.log.next(t); e.Status != 200 || e.Cluster != "up" {
			t.Errorf("logged %+v", e)
		}
	}
	d := dialToy(t, k.addr)
	large := strings.Repeat("large", 100<<10) // in many pieces
	d.send(l7.Request, 1, ":method=x\n\n"+large)
	d.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n" + large)
	if n := up.connections(); n != 1 {
		t.Errorf("%d connections to the upstream for two clients", n)
	}
}

// TestMessagesRouted: rules on fields, changes in both directions, answers of the proxy's own.
func TestMessagesRouted(t *testing.T) {
	a, b := newToyServer(t, "a"), newToyServer(t, "b")
	special := to("b")
	special.Match.Headers = []route.HeaderMatch{{Name: "version", Value: &route.StringMatch{Value: "2"}}}
	special.RequestHeaders.Add = []route.HeaderValue{{Name: "added", Value: "yes"}}
	special.ResponseHeaders.Add = []route.HeaderValue{{Name: "seen", Value: "proxy"}}
	gone := to("nowhere")
	gone.Match.Path = "/gone"
	k := start(t, routes(special, gone, to("a")), speakToy(l7.ByID), upstreamSpec("a", a.addr()), upstreamSpec("b", b.addr()))
	c := dialToy(t, k.addr)
	c.send(l7.Request, 1, ":method=m\nversion=1\n\n")
	c.expect("1 1 :status=200\nserver=a\n\n:method=m\nversion=1\n\n")
	c.send(l7.Request, 2, ":method=m\nversion=2\n\n")
	c.expect("1 2 :status=200\nserver=b\nseen=proxy\n\n:method=m\nversion=2\nadded=yes\n\n")
	c.send(l7.Request, 3, ":method=gone\n\n")
	c.expect("1 3 :status=503\n\ngone: ")
}

// TestMessagesOneWay: they are passed on, and nobody waits for an answer.
func TestMessagesOneWay(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	c := dialToy(t, k.addr)
	c.send(l7.OneWay, 1, ":method=tell\n\n")
	if e := k.log.next(t); e.Status != 200 || e.Cluster != "up" {
		t.Errorf("logged %+v", e)
	}
	c.send(l7.Request, 1, ":method=x\n\n")
	c.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n")
	if got, want := up.saw(), ":method=tell\n\n|:method=x\n\n"; got != want {
		t.Errorf("the upstream saw %q, want %q", got, want)
	}
}

// TestMessagesStream: the messages of a stream go to the upstream that its first one was routed to.
func TestMessagesStream(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	c := dialToy(t, k.addr)
	c.send(l7.StreamOpen, 9, ":method=s\n\n")
	c.expect("4 9 echo :method=s\n\n")
	for i := range 100 {
		text := fmt.Sprint("n", i)
		c.send(l7.StreamData, 9, text)
		c.expect("4 9 echo " + text)
	}
	c.send(l7.StreamEnd, 9, "")
	c.expect("5 9 bye")
	if e := k.log.next(t); e.Status != 200 {
		t.Errorf("logged %+v", e)
	}
}

// TestMessagesInOrder: without ids in the protocol answers come in the order of the requests, whoever
// is quicker.
func TestMessagesInOrder(t *testing.T) {
	for _, order := range []l7.Order{l7.InOrder, l7.OneByOne} {
		slow, fast := newToyServer(t, "slow"), newToyServer(t, "fast")
		quick := to("fast")
		quick.Match.Path = "/quick"
		k := start(t, routes(quick, to("slow")), speakToy(order), upstreamSpec("slow", slow.addr()), upstreamSpec("fast", fast.addr()))
		c := dialToy(t, k.addr)
		c.send(l7.Request, 0, ":method=hold\n\n1")
		slow.await("hold") // so that what follows finds the connection
		c.send(l7.Request, 0, ":method=quick\n\n2")
		if e := k.log.next(t); e.Cluster != "fast" {
			t.Errorf("logged %+v", e)
		}
		d := dialToy(t, k.addr)
		if order == l7.InOrder { // the connection is shared: it releases what it holds
			d.send(l7.Request, 0, ":method=release\n\n")
			d.expect("1 0 :status=200\nserver=slow\n\n:method=release\n\n")
			c.expect("1 0 :status=200\nserver=slow\n\n:method=hold\n\n1")
			c.expect("1 0 :status=200\nserver=fast\n\n:method=quick\n\n2")
			continue
		}
		d.send(l7.Request, 0, ":method=x\n\n")
		d.expect("1 0 :status=200\nserver=slow\n\n:method=x\n\n")
		if n := slow.connections(); n < 2 {
			t.Errorf("%d connections, want one for each request under way", n)
		}
	}
}

// TestMessagesRetried: what a dying upstream leaves is tried on another one, and its client notices nothing.
func TestMessagesRetried(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	up := newToyServer(t, "a")
	r := to("up", retry(route.RetryPolicy{On: route.RetryConnectFailure | route.RetryReset, Retries: 5, AvoidPrevious: true, HostAttempts: 3}))
	k := start(t, routes(r), speakToy(l7.ByID), upstreamSpec("up", dead.Addr().String(), up.addr()))
	c := dialToy(t, k.addr)
	for i := range uint32(50) {
		c.send(l7.Request, i, ":method=x\n\n")
		c.expect(fmt.Sprintf("1 %d :status=200\nserver=a\n\n:method=x\n\n", i))
	}
	c.send(l7.Request, 99, ":method=die\n\n")
	if got := c.next(); !strings.HasPrefix(got, "1 99 :status=503\n") {
		t.Errorf("got %q", got)
	}
	c.send(l7.Request, 100, ":method=fail\n\n")
	c.expect("1 100 :status=500\n\noops")
}

// TestMessagesMalformed: a message whose end cannot be known costs the connection, and nothing else.
func TestMessagesMalformed(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	for name, bad := range map[string]string{"kind": "\x00\x00\x00\x00\xff\x00\x00\x00\x00", "size": "\x7f\xff\xff\xff\x00\x00\x00\x00\x00"} {
		c := dialToy(t, k.addr)
		c.send(l7.Request, 1, ":method=x\n\n")
		c.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n")
		if _, err := c.nc.Write([]byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got := c.next(); got != "closed" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// TestMessagesGivenUp: a request that is not answered in time costs a connection without numbers, and no other
// request; what comes late reaches nobody.
func TestMessagesGivenUp(t *testing.T) {
	for _, order := range []l7.Order{l7.ByID, l7.InOrder, l7.OneByOne} {
		up := newToyServer(t, "a")
		short := to("up", func(f *route.Forward) { f.Timeout = 50 * time.Millisecond })
		short.Match.Path = "/hold"
		k := start(t, routes(short, to("up")), speakToy(order), upstreamSpec("up", up.addr()))
		c := dialToy(t, k.addr)
		for i := range uint32(3) {
			c.send(l7.Request, i, ":method=hold\n\n")
			if got := c.next(); !strings.Contains(got, ":status=504") {
				t.Fatalf("order %d: %q", order, got)
			}
			text := fmt.Sprintf(":method=release\n\n%d", i)
			c.send(l7.Request, i, text)
			c.expect(fmt.Sprintf("1 %d :status=200\nserver=a\n\n%s", i, text))
		}
		if n, least := up.connections(), map[l7.Order]int{l7.ByID: 1, l7.InOrder: 4, l7.OneByOne: 4}[order]; n < least || order == l7.ByID && n > 1 {
			t.Errorf("order %d: %d connections to the upstream, want %d", order, n, least)
		}
	}
}

// TestMessagesGoAway: an upstream that is about to end gets no more requests on its connection.
func TestMessagesGoAway(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	c := dialToy(t, k.addr)
	for i := range uint32(4) {
		c.send(l7.Request, i, ":method=leave\n\n")
		c.expect(fmt.Sprintf("1 %d :status=200\nserver=a\n\n:method=leave\n\n", i))
	}
	if n := up.connections(); n != 4 {
		t.Errorf("%d connections, want one for each request", n)
	}
}

// TestMessagesOneWayAndGone: what nobody waits for gets there though its client has gone.
func TestMessagesOneWayAndGone(t *testing.T) {
	for _, order := range []l7.Order{l7.ByID, l7.InOrder, l7.OneByOne} {
		up := newToyServer(t, "a")
		k := start(t, routes(to("up")), speakToy(order), upstreamSpec("up", up.addr()))
		c := dialToy(t, k.addr)
		c.send(l7.OneWay, 1, ":method=tell\n\n")
		c.nc.Close()
		if e := k.log.next(t); e.Status != 200 || e.Cluster != "up" {
			t.Errorf("order %d: logged %+v", order, e)
		}
		d := dialToy(t, k.addr) // on the same connection, if there is one
		d.send(l7.Request, 1, ":method=x\n\n")
		d.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n")
		if got := up.saw(); !strings.Contains(got, ":method=tell") {
			t.Errorf("order %d: the upstream saw %q", order, got)
		}
	}
}

// TestMessagesStreamGivenUp: the upstream of a stream hears that its client has given it up, or has gone.
func TestMessagesStreamGivenUp(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	c, d := dialToy(t, k.addr), dialToy(t, k.addr)
	for i, cx := range []*toyClient{c, d} {
		cx.send(l7.StreamOpen, 9, ":method=s\n\n")
		cx.expect("4 9 echo :method=s\n\n")
		if i == 0 {
			cx.send(l7.StreamReset, 9, "")
		} else {
			cx.nc.Close()
		}
		k.log.next(t)
	}
	e := dialToy(t, k.addr)
	e.send(l7.Request, 1, ":method=x\n\n")
	e.next()
	if got, want := up.saw(), ":method=s\n\n|given up|:method=s\n\n|given up|:method=x\n\n"; got != want {
		t.Errorf("the upstream saw %q, want %q", got, want)
	}
}

// TestMessagesDeaf: a client that asks for much and reads nothing is cut off, and nobody else is.
func TestMessagesDeaf(t *testing.T) {
	up := newToyServer(t, "a")
	k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
	nc, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const asked = 150 // MiB: what is bounded, and all that the sockets may take
	var all []byte
	for i := range uint32(asked) {
		all = append(all, codectest.ToyMessage(l7.Request, i, ":method=much\n\n")...)
	}
	if _, err := nc.Write(all); err != nil {
		t.Fatal(err)
	}
	cut := 0
	for range asked {
		if e := k.log.next(t); e.Status != 200 {
			cut++
		}
	}
	if cut == 0 {
		t.Error("all was kept for it")
	}
	c := dialToy(t, k.addr)
	c.send(l7.Request, 1, ":method=x\n\n")
	c.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n")
}

// TestMessagesGivenUpAndNext: who waits for room does not get it on a connection whose request was given up.
func TestMessagesGivenUpAndNext(t *testing.T) {
	up := newToyServer(t, "a")
	short := to("up", func(f *route.Forward) { f.Timeout = 300 * time.Millisecond })
	short.Match.Path = "/hold"
	spec := upstreamSpec("up", up.addr())
	spec.Breakers[0].Connections = 1
	k := start(t, routes(short, to("up")), speakToy(l7.OneByOne), spec)
	c, d := dialToy(t, k.addr), dialToy(t, k.addr)
	for range 3 {
		c.send(l7.Request, 1, ":method=hold\n\n")
		for !strings.HasSuffix(up.saw(), ":method=hold\n\n") && len(c.in) == 0 {
			time.Sleep(time.Millisecond)
		}
		d.send(l7.Request, 2, ":method=x\n\n")
		if got := c.next(); !strings.Contains(got, ":status=504") {
			t.Fatal(got)
		}
		d.expect("1 2 :status=200\nserver=a\n\n:method=x\n\n")
	}
	if n := k.clusters.Get("up").Stats().UpstreamRqRxReset.Load(); n != 0 {
		t.Errorf("%d requests were put on a connection that was to be closed", n)
	}
}

// TestMessagesOneConnection: clients that come at once, while a connection is being made, wait for it and make no others.
func TestMessagesOneConnection(t *testing.T) {
	for range 20 {
		up := newToyServer(t, "a")
		k := start(t, routes(to("up")), speakToy(l7.ByID), upstreamSpec("up", up.addr()))
		var all []*toyClient
		for range 20 {
			all = append(all, dialToy(t, k.addr))
		}
		for _, c := range all {
			c.send(l7.Request, 1, ":method=x\n\n")
		}
		for _, c := range all {
			c.expect("1 1 :status=200\nserver=a\n\n:method=x\n\n")
		}
		if n := up.connections(); n != 1 {
			t.Fatalf("%d connections to the upstream", n)
		}
	}
}
