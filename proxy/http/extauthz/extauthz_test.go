package extauthz

import (
	"bytes"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

// silent is a server that does not answer.
type silent struct{ asked []*question }

func (c *silent) check(q *question, _ func(*decision)) (cancel func()) {
	c.asked = append(c.asked, q)
	return func() {}
}

// TestPartOfABody: there is room for the part that the server is to see, also where that is
// more than a stream holds by itself; it is held up again once the server is asked.
func TestPartOfABody(t *testing.T) {
	server := &silent{}
	cfg := newConfig()
	cfg.checker, cfg.body = server, bodies{max: 10, partial: true}
	s := filtertest.New(":method", "POST")
	x := (&factory{cfg}).New(s)
	if v := x.RequestHeaders(s, s.Req, false); v != filter.Wait || s.Limit != 10 {
		t.Errorf("verdict %v, room for %d bytes; want to wait, with room for 10", v, s.Limit)
	}
	for range 3 {
		_ = x.RequestData(s, []byte("1234"), false)
	}
	if len(server.asked) != 1 || s.Limit != 0 {
		t.Fatalf("asked %d times, room for %d bytes; want once, and room as usual", len(server.asked), s.Limit)
	}
	if q := server.asked[0]; !bytes.Equal(q.body, []byte("1234123412")) || !q.partial {
		t.Errorf("the server sees %q, partial %v", q.body, q.partial)
	}
	x.Done(s)
}
