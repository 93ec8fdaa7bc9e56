package message

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/proxy/codec/dubbo"
	"github.com/weftmesh/weft/proxy/filter"
	httpcodec "github.com/weftmesh/weft/proxy/http/codec"
)

// listener notes events; on, when set, is called for each.
type listener struct {
	events []string
	on     func(event string, id uint32)
	heads  int
}

var _ httpcodec.Events = (*listener)(nil)

func (l *listener) note(event string, id uint32) {
	l.events = append(l.events, fmt.Sprint(event, " ", id))
	if l.on != nil {
		l.on(event, id)
	}
}

func (l *listener) NewHeaders(uint32) *filter.Headers {
	l.heads++
	return &filter.Headers{}
}
func (l *listener) OnHeaders(id uint32, _ *filter.Headers, _ bool) { l.note("head", id) }
func (l *listener) OnInterim(uint32, *filter.Headers)              {}
func (l *listener) OnData(id uint32, _ []byte, end bool)           { l.note(fmt.Sprint("data ", end), id) }
func (l *listener) OnTrailers(uint32, *filter.Headers)             {}
func (l *listener) OnReset(id uint32, code httpcodec.ResetCode) {
	l.note(fmt.Sprint("reset ", code), id)
}
func (l *listener) OnUpgraded(uint32)     {}
func (l *listener) OnGoAway(uint32, bool) {}
func (l *listener) OnWindow(uint32)       {}
func (l *listener) said() string          { return strings.Join(l.events, ", ") }
func server(o codec.Order) (*Server, *listener) {
	l := &listener{}
	return NewServer(l, codectest.Toy(o)), l
}
func client(o codec.Order) (*Client, *listener) {
	l := &listener{}
	return NewClient(l, codectest.Toy(o)), l
}
func feed(t *testing.T, c httpcodec.Codec, k codec.Kind, id uint32, text string) {
	t.Helper()
	if err := c.Feed(codectest.ToyMessage(k, id, text)); err != nil {
		t.Fatal(err)
	}
}

// answer answers a request as an upstream would.
func answer(c *Server, id uint32, text string) {
	c.Headers(id, &filter.Headers{Status: 200, Protocol: "toy"}, false)
	c.Data(id, codectest.ToyMessage(codec.Response, 99, text), true)
}

// output is what has been written since, "kind id text".
func output(c httpcodec.Codec) (out []string) {
	for b := c.Output(); len(b) > 0; {
		k, id, text, n := codectest.SplitToy(b)
		out = append(out, fmt.Sprint(k, " ", id, " ", text))
		b = b[n:]
	}
	c.ClearOutput()
	return out
}

func fields(pairs ...string) *filter.Headers {
	h := &filter.Headers{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// TestDifferences: only what rules have changed is changed, also among names that are written in more than one way.
func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		name    string
		was, is *filter.Headers
		want    string
	}{
		{"nothing", fields("a", "1", "b", "2"), fields("a", "1", "b", "2"), "[]"},
		{"twice", fields("a", "1", "b", "2", "a", "3"), fields("a", "1", "b", "2", "a", "3"), "[]"},
		{"set", fields("a", "1"), fields("a", "2"), "[{a 2 false}]"},
		{"one of two", fields("a", "1", "a", "2"), fields("a", "1"), "[{a 1 false}]"},
		{"appended", fields("a", "1"), fields("a", "1", "a", "2"), "[{a 2 false}]"},
		{"removed", fields("a", "1", "b", "2", "a", "3"), fields("b", "2"), "[{a  true}]"},
		{"ours", fields("x-envoy-a", "1"), fields(), "[]"},
	} {
		if got := fmt.Sprint(differences(nil, c.was, c.is)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestTooManyFields: what is looked at again and again is bounded.
func TestTooManyFields(t *testing.T) {
	c, l := server(codec.ByID)
	feed(t, c, codec.Request, 1, strings.Repeat("k=v\n", maxFields))
	if err := c.Feed(codectest.ToyMessage(codec.Request, 2, strings.Repeat("k=v\n", maxFields+1))); err == nil {
		t.Errorf("taken: %s", l.said())
	}
}

// TestTurns: answers wait for their turn, and what waits keeps more from being read.
func TestTurns(t *testing.T) {
	c, _ := server(codec.InOrder)
	feed(t, c, codec.Request, 1, "")
	for i := range uint32(100) {
		feed(t, c, codec.Request, 2, "")
		answer(c, 4+2*i, "\n"+strings.Repeat("x", 1<<10))
	}
	if n := len(c.Output()); n != 0 {
		t.Fatalf("%d bytes before the first has been answered", n)
	}
	if n := c.Retained(); n < 100<<10 {
		t.Errorf("%d bytes are said to wait", n)
	}
	answer(c, 2, "\nfirst")
	if out := output(c); len(out) != 101 || out[0] != "1 1 \nfirst" {
		t.Errorf("%d answers, the first is %.20q", len(out), out[0])
	}
	if n := c.Retained(); n != 0 {
		t.Errorf("%d bytes are said to wait still", n)
	}
}

// TestTells: what nobody answers is not read quicker than it can be passed on.
func TestTells(t *testing.T) {
	c, _ := server(codec.ByID)
	for range 300 {
		feed(t, c, codec.OneWay, 1, "")
	}
	if n := c.Retained(); n < 64<<10 {
		t.Errorf("%d bytes are said to wait", n)
	}
	for i := range uint32(300) {
		c.Headers(2+2*i, &filter.Headers{Status: 200, Protocol: "toy"}, true)
	}
	if n := c.Retained(); n != 0 {
		t.Errorf("%d bytes are said to wait still", n)
	}
}

// TestTooManyTurns: what is refused is told when it is its turn.
func TestTooManyTurns(t *testing.T) {
	c, _ := server(codec.InOrder)
	for range maxOpen + 1 {
		feed(t, c, codec.Request, 1, "")
	}
	if out := output(c); len(out) != 0 {
		t.Fatalf("answers nobody's request first: %q", out)
	}
	for i := range uint32(maxOpen) {
		answer(c, 2+2*i, "\nfine")
	}
	if out := output(c); len(out) != maxOpen+1 || !strings.Contains(out[maxOpen], ":status=503") || out[0] != "1 1 \nfine" {
		t.Errorf("%d answers", len(out))
	}
}

// TestResetTurn: a stream that its client gives up holds nobody up, and its end does not hide that it is given up.
func TestResetTurn(t *testing.T) {
	c, l := server(codec.InOrder)
	feed(t, c, codec.StreamOpen, 1, "")
	feed(t, c, codec.Request, 2, "")
	feed(t, c, codec.StreamEnd, 1, "")
	feed(t, c, codec.StreamReset, 1, "")
	answer(c, 4, "\nnext")
	if out := fmt.Sprint(output(c)); out != "[1 2 \nnext]" {
		t.Errorf("answers %s after %s", out, l.said())
	}
}

// TestEnd: a client that goes wants no answers; what has none goes its way.
func TestEnd(t *testing.T) {
	c, l := server(codec.ByID)
	feed(t, c, codec.Request, 1, "")
	feed(t, c, codec.OneWay, 2, "")
	_ = c.End()
	if n := c.Streams(); n != 1 || c.KeepAlive() {
		t.Fatalf("%d streams after %s", n, l.said())
	}
	c.Headers(4, &filter.Headers{Status: 200, Protocol: "toy"}, true)
	if n := c.Streams(); n != 0 || len(c.Output()) != 0 {
		t.Errorf("%d streams, %q", n, c.Output())
	}
}

// TestIDsBeginAnew: the ids of a connection that lives long are used again, but for those that are in use.
func TestIDsBeginAnew(t *testing.T) {
	c, _ := client(codec.ByID)
	first, _ := c.NewStream()
	c.last = 1<<32 - 4
	var ids []uint32
	for range 3 {
		id, _ := c.NewStream()
		ids = append(ids, id)
	}
	if got, want := fmt.Sprint(first, ids), "2 [4294967294 4 6]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestGone: who is told that the connection has gone does not begin anything on it again.
func TestGone(t *testing.T) {
	c, l := client(codec.ByID)
	again := false
	l.on = func(string, uint32) { _, again = c.NewStream() }
	id, _ := c.NewStream()
	_ = c.End()
	if got, want := l.said(), fmt.Sprintf("reset %v %d", httpcodec.ResetConnection, id); got != want || again {
		t.Errorf("got %q, want %q; again: %v", got, want, again)
	}
}

// TestOwing: only a request whose answer is still to come makes a connection useless that is given up.
func TestOwing(t *testing.T) {
	for kind, want := range map[codec.Kind]bool{codec.Request: false, codec.OneWay: true} {
		c, _ := client(codec.OneByOne)
		id, _ := c.NewStream()
		c.Headers(id, &filter.Headers{}, false)
		c.Data(id, codectest.ToyMessage(kind, 1, ""), true)
		c.Reset(id, httpcodec.ResetCancel)
		if got := c.KeepAlive(); got != want {
			t.Errorf("kind %d: to be used again: %v", kind, got)
		}
	}
}

// TestHeads: pieces of messages and messages without a head need no new memory each.
func TestHeads(t *testing.T) {
	c, l := client(codec.ByID)
	for _, b := range codectest.ToyMessage(codec.HeartbeatReply, 1, "a longer text") {
		if err := c.Feed([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	feed(t, c, codec.HeartbeatReply, 1, "")
	if l.heads != 1 {
		t.Errorf("%d heads", l.heads)
	}
}

// TestFresh: a client that was told to leave is not handed on.
func TestFresh(t *testing.T) {
	for p, want := range map[*codec.Protocol]bool{codectest.Toy(codec.ByID): true, &dubbo.Protocol: false} {
		c := NewServer(&listener{}, p)
		if !c.Fresh() {
			t.Errorf("%s: a new one is not fresh", p.Name)
		}
		c.GoAway(true)
		c.ClearOutput()
		if got := c.Fresh(); got != want {
			t.Errorf("%s: fresh: %v", p.Name, got)
		}
	}
}

// TestFreeMemory: a burst leaves little behind.
func TestFreeMemory(t *testing.T) {
	c, _ := server(codec.ByID)
	name := ":method=" + strings.Repeat("x", 64<<10) + "\n\n"
	for i := range uint32(100) {
		feed(t, c, codec.Request, i, name)
	}
	for i := range uint32(100) {
		answer(c, 2+2*i, "")
	}
	n, kept := 0, 0
	for st := c.free; st != nil; st = st.next {
		n, kept = n+1, kept+cap(st.note)+cap(st.body)+cap(st.ready)
	}
	if n > maxFree || kept > 3*maxFree*keepCap {
		t.Errorf("%d streams with %d bytes", n, kept)
	}
}

// TestOutputMemory: large output is borrowed, also by many in turns, and an idle connection has none of it.
func TestOutputMemory(t *testing.T) {
	text := "\n" + strings.Repeat("x", 2*keepCap)
	conns := make([]*Server, 8)
	round := func() {
		for i := range conns {
			feed(t, conns[i], codec.Request, 1, "")
			answer(conns[i], conns[i].last, text)
		}
		for _, c := range conns {
			if out := output(c); len(out) != 1 || out[0] != "1 1 "+text {
				t.Fatalf("%d answers, the first %.20q", len(out), out[0])
			}
			if cap(c.out) > keepCap || c.lent != nil {
				t.Errorf("%d bytes are kept", cap(c.out))
			}
		}
	}
	for i := range conns {
		conns[i], _ = server(codec.ByID)
	}
	round()
	round()
}

// forgetful is a codec that wants its notes back.
type forgetful struct {
	codec.Codec
	got []any
}

func (f *forgetful) Decode(b []byte, _ codec.Peer, m *codec.Message) error {
	f.got = append(f.got, m.Memo)
	if m.Memo = len(b); len(b) >= 3 {
		m.Size, m.Kind = 3, codec.HeartbeatReply
	}
	return nil
}

// TestMemo: a codec gets its note back with more of the same message, and only then.
func TestMemo(t *testing.T) {
	f := &forgetful{}
	c := NewServer(&listener{}, &codec.Protocol{New: func() codec.Codec { return f }})
	for _, b := range []string{"a", "a", "aa", "a"} {
		if err := c.Feed([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(f.got), "[<nil> 1 2 <nil> 1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFault: a request that cannot be read costs its own answer, and no other's.
func TestFault(t *testing.T) {
	l := &listener{}
	c := NewServer(l, &dubbo.Protocol)
	if err := c.Feed([]byte("\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01\x40")); err != nil {
		t.Fatal(err)
	}
	out := string(c.Output())
	if want := "\xda\xbb\x02\x28\x00\x00\x00\x00\x00\x00\x00\x07"; !strings.HasPrefix(out, want) || !strings.Contains(out, "not Hessian") || l.said() != "" || c.Streams() != 0 {
		t.Errorf("%q after %s", out, l.said())
	}
}
