package envoy

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestHarnessSees: the HTTP/2 client and the HTTP/2 upstream, one to the other with no
// proxy between, tell all that was said: heads in several frames, trailers, bodies
// longer than a frame, resets, GOAWAY, SETTINGS in the midst, and what is illegal.
func TestHarnessSees(t *testing.T) {
	const up = `option h2=1
headers
  :status: 103
  link: x
headers split
  :status: 200
  x-a: b
data \{20000*x}
headers end
  x-t: v
next
early
rst 8
next
headers end
  :status: abc
  X-Upper: c
next
until there
headers end
  :status: 204
goaway 7 0
`
	const say = `option h2=1
option settings=4=100
headers 1 split
  :method: POST
  :path: /one
data 1 hello
settings 4=70000
window 0 100000
headers 1 end
  x-q: r
wait 1
request 3 POST /two
wait 3
request 5 GET /three end
wait 5
request 7 POST /four
data 7 end there
wait 7
wait goaway
`
	client, upstream, broken := conversation(t, say, up)
	if len(broken) > 0 {
		t.Errorf("the harness is blind: %q", broken)
	}
	for _, want := range []struct{ what, in, text string }{
		{"interim, head, trailers, body", client, "stream 1\n  :status: 103\n  link: x\n  then\n  :status: 200\n  x-a: b\n  then\n  x-t: v\n  body 20000 bytes"},
		{"reset", client, "stream 3\n  reset CANCEL\n"},
		{"malformed fields", client, "stream 5\n  :status: abc\n  X-Upper: c\n"},
		{"goaway", client, "goaway NO_ERROR\nconnection: open\n"},
		{"request and its trailers", upstream, "stream 1\n  :method: POST\n  :path: /one\n  then\n  x-q: r\n  body \"hello\"\n"},
		{"request without an end", upstream, "stream 3\n  :authority: a.example\n  :method: POST\n  :path: /two\n  :scheme: http\n  (not ended)\n"},
		{"body", upstream, "body \"there\"\n"},
	} {
		if !strings.Contains(want.in, want.text) {
			t.Errorf("%s: no %q in\n%s", want.what, want.text, want.in)
		}
	}
}

// TestHarnessSaysItIsBlind: what cannot be read is a fault, not an end of the connection.
func TestHarnessSaysItIsBlind(t *testing.T) {
	for name, bytes := range map[string]string{
		"no HTTP/2":                  "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("x", 64),
		"HPACK that does not decode": "\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff\x80",
		"CONTINUATION of nothing":    "\x00\x00\x01\x09\x04\x00\x00\x00\x01\x88",
		"frame in a header block":    "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"RST_STREAM of a wrong size": "\x00\x00\x01\x03\x00\x00\x00\x00\x01\x00",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, broken := conversation(t, "option h2=1\nrequest 1 GET / end\nwait 1\n", "option tcp=1\n<< "+escaped(bytes))
			if len(broken) != 1 {
				t.Fatalf("faults: %q, want one", broken)
			}
			faults := compare(&caseFile{name: "x"}, result{broken: broken}, result{}, &differences{})
			if len(faults) != 1 || !strings.Contains(faults[0], "says nothing") {
				t.Errorf("the case has the faults %q, want one", faults)
			}
		})
	}
	t.Run("an end is none", func(t *testing.T) {
		client, _, broken := conversation(t, "option h2=1\nrequest 1 GET / end\nwait 1\n", "option tcp=1\nclose\n")
		if len(broken) > 0 || !strings.HasSuffix(client, "connection: closed\n") {
			t.Errorf("faults %q, client:\n%s", broken, client)
		}
	})
	t.Run("upstream", func(t *testing.T) {
		_, _, broken := conversation(t, "option raw=1\n>> "+escaped(http2.ClientPreface+"GET / HTTP/1.1\r\n\r\n"+strings.Repeat("x", 64))+"\nend eof\n", "option h2=1\n")
		if len(broken) != 1 {
			t.Errorf("faults: %q, want one", broken)
		}
	})
}

// escaped writes bytes as scripts do.
func escaped(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		b.WriteString(`\x` + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
	}
	return b.String()
}

// conversation plays a client's script against an upstream's, without a proxy.
func conversation(t *testing.T, say, answer string) (said, got string, broken []string) {
	t.Helper()
	cs, err := parseScript("", say)
	if err != nil {
		t.Fatal(err)
	}
	us, err := parseScript("up", answer)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{c: &caseFile{name: t.Name()}, changed: make(chan struct{}), released: map[string]int{}}
	u := &upstream{r: r, s: us, exchanges: exchanges(us.steps)}
	r.upstreams = append(r.upstreams, u)
	if err := u.listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", u.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if cs.opt["h2"] != "" {
		said = (&h2Client{r: r, s: cs, nc: nc}).play(t)
	} else {
		said = (&client{r: r, s: cs, nc: nc}).play(t)
	}
	u.settle()
	u.close()
	r.wg.Wait()
	if len(r.late) > 0 {
		t.Errorf("steps waited in vain: %q", r.late)
	}
	return said, u.String(), r.broken
}
