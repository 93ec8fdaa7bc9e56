package module

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/proxy/filter"
)

// ticker is the protocol of examples/wasm-codec, as a module.
var ticker = sync.OnceValues(func() (*codec.Protocol, error) {
	dir, err := os.MkdirTemp("", "codec")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "codec.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, "./examples/wasm-codec")
	cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return New(context.Background(), "ticker", raw)
})

func protocol(t testing.TB) *codec.Protocol {
	t.Helper()
	p, err := ticker()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(id uint32, kind byte, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(9+len(text))) //nolint:gosec // tests
	return append(append(binary.BigEndian.AppendUint32(b, id), kind), text...)
}

// TestContract holds the example to what every codec has to do.
func TestContract(t *testing.T) {
	p := protocol(t)
	if p.Order != codec.ByID || !p.MutableRequests || !p.MutableResponses {
		t.Errorf("%+v", p)
	}
	long := "symbol=LONG\nnote=" + strings.Repeat("x", 3*glance) + "\n"
	codectest.Check(t, p, []codectest.Sample{
		{Name: "question", Raw: message(7, 'Q', "symbol=WEFT\nDesk=london\n"), Kind: codec.Request, ID: 7, Want: map[string]string{":authority": "WEFT", ":method": "ask", ":path": "/WEFT", "desk": "london"}},
		{Name: "answer", From: codec.Server, Raw: message(7, 'A', "price=12\n"), Kind: codec.Response, ID: 7, Want: map[string]string{"price": "12"}},
		{Name: "error", From: codec.Server, Raw: message(7, 'E', ""), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "500"}},
		{Name: "ping", Raw: message(1, 'P', ""), Kind: codec.Heartbeat, ID: 1},
	})
	m := codec.Message{Head: &filter.Headers{}}
	if err := p.New().Decode(message(1, 'Q', long), codec.Client, &m); err != nil || m.Size != 9+len(long) || m.Head.Authority != "LONG" || len(m.Head.Get("note")) != 3*glance {
		t.Errorf("a long message: %v, %+v", err, m)
	}
}

// TestSays: changes, answers, and what the example has no words for.
func TestSays(t *testing.T) {
	c := protocol(t).New()
	out, err := c.Encode([]byte("x"), message(7, 'Q', "symbol=A\ndesk=b\nuser=c\n"), codec.Client, 9, []codec.Change{{Name: "desk", Value: "d"}, {Name: "user", Remove: true}})
	if want := append([]byte("x"), message(9, 'Q', "symbol=A\ndesk=d\n")...); err != nil || !bytes.Equal(out, want) {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	got := c.Answer(nil, &codec.Message{Kind: codec.Request, ID: 5}, codec.Answer{Status: 403, Text: "no"})
	if want := message(5, 'E', "status=403\ntext=no\n"); !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := c.(codec.Pinger).Ping([]byte("x")); string(got) != "x" {
		t.Errorf("%q", got)
	}
	if _, ok := c.(codec.Drainer); ok {
		t.Error("the example does not say that it tells clients to leave")
	}
	m := codec.Message{}
	if err := c.Decode(message(1, 'X', ""), codec.Client, &m); err == nil || err.Error() != "a message of kind 'X'" {
		t.Errorf("%v", err)
	}
}

// TestFailing: a module that panics, or never returns, costs the connection that asked, and no other.
func TestFailing(t *testing.T) {
	p := protocol(t)
	before := patience
	t.Cleanup(func() { patience = before })
	for _, word := range []string{"panic", "forever"} {
		m := codec.Message{}
		if word == "forever" {
			patience = 50 * time.Millisecond
		}
		err := p.New().Decode(message(1, 'Q', word+"=1\n"), codec.Client, &m)
		patience = before
		if err == nil || !strings.HasPrefix(err.Error(), "the codec's module has ") {
			t.Errorf("%s: %v", word, err)
		}
		m = codec.Message{}
		if err := p.New().Decode(message(1, 'Q', "symbol=A\n"), codec.Client, &m); err != nil || m.ID != 1 {
			t.Errorf("after %s: %v, %+v", word, err, m)
		}
	}
}

// TestAtOnce: connections on several goroutines use machines of their own.
func TestAtOnce(t *testing.T) {
	p := protocol(t)
	var wg sync.WaitGroup
	for i := range uint32(8) {
		wg.Go(func() {
			c := p.New()
			for n := range uint32(50) {
				m := codec.Message{Head: &filter.Headers{}}
				if err := c.Decode(message(i*1000+n, 'Q', fmt.Sprintf("symbol=S%d\n", i)), codec.Client, &m); err != nil || m.ID != uint64(i*1000+n) || m.Head.Authority != fmt.Sprintf("S%d", i) {
					t.Errorf("%v, %+v", err, m)
				}
			}
		})
	}
	wg.Wait()
}

// TestNoCodec: what is no codec is told why.
func TestNoCodec(t *testing.T) {
	for text, want := range map[string]string{
		"hello":                            "is no module that can be run",
		"\x00asm\x01\x00\x00\x00":          "does not export weft_codec_abi_1",
		"\x00asm\x01\x00\x00\x00" + tooFew: "does not export weft_codec_describe",
	} {
		if _, err := New(t.Context(), "x", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// tooFew are the sections of a module that exports one function, weft_codec_abi_1, which does nothing.
const tooFew = "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x14\x01\x10weft_codec_abi_1\x00\x00" + "\x0a\x04\x01\x02\x00\x0b"

// BenchmarkDecode is what a question costs.
func BenchmarkDecode(b *testing.B) {
	c := protocol(b).New()
	raw := message(7, 'Q', "symbol=WEFT\ndesk=london\n")
	h := &filter.Headers{}
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		m := codec.Message{Head: h}
		if err := c.Decode(raw, codec.Client, &m); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzDecode: whatever clients send, the module answers within its borders, and what it found can be written again.
func FuzzDecode(f *testing.F) {
	p := protocol(f)
	f.Add(message(7, 'Q', "symbol=WEFT\n"))
	f.Add(message(1, 'P', ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("forever")) {
			t.Skip("the example is asked not to return")
		}
		c := p.New()
		m := codec.Message{Head: &filter.Headers{}}
		if c.Decode(b, codec.Client, &m) != nil || m.Size == 0 || m.Size > len(b) {
			return
		}
		out, err := c.Encode(nil, b[:m.Size], codec.Client, m.ID, nil)
		if err != nil || !bytes.Equal(out, b[:m.Size]) {
			t.Errorf("%q became %q, %v", b[:m.Size], out, err)
		}
	})
}

// FuzzRecord: whatever a module answers is a message or an error.
func FuzzRecord(f *testing.F) {
	f.Add(append([]byte{done, 1, 200, 0, 9, 0, 0, 0}, make([]byte, 40)...), 9)
	f.Fuzz(func(t *testing.T, r []byte, have int) {
		if len(r) < headLen {
			return
		}
		m := codec.Message{Head: &filter.Headers{}}
		if err := record(r, have, &m); err == nil && (m.Size <= 0 || m.Size > maxMessage || m.Kind > codec.GoAway || m.Head.Len() > maxFields) {
			t.Errorf("%+v", m)
		}
	})
}
