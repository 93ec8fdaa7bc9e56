package dubbo

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/proxy/filter"
)

// values in Hessian 2, one of each kind, from its draft.
var values = map[string]string{
	"null": "4e", "true": "54", "false": "46",
	"int 0": "90", "int -2048": "c000", "int 262143": "d7ffff", "int 2^31-1": "497fffffff",
	"long 0": "e0", "long -2048": "f000", "long -262144": "3c0000"[:6], "long 32": "597fffffff", "long 64": "4c0000000000000001",
	"double 0": "5b", "double 1": "5c", "double byte": "5d80", "double short": "5e8000", "double mill": "5f00002fda", "double": "44400aaaaaaaaaaaaa",
	"date": "4a000000d04b928464", "date minutes": "4b00e3831b",
	"empty string": "00", "string": "0568656c6c6f", "string of 2-byte": "01c383", "string 1023": "3005" + "68656c6c6f", "chunks": "52000568656c6c6f" + "0568656c6c6f",
	"surrogates": "02f09f9880", "binary": "23010203", "binary chunks": "41000101" + "2101", "binary 1023": "340101",
	"list": "7291" + "90" + "91", "list of typed": "72" + "045b696e74" + "90" + "91", "fixed": "56" + "045b696e74" + "92" + "90" + "91",
	"fixed untyped": "58" + "92" + "90" + "91", "variable": "55" + "045b696e74" + "90" + "5a", "variable untyped": "57" + "90" + "5a", "short untyped": "7a" + "90" + "91",
	"map": "48" + "91" + "03666565" + "5a", "typed map": "4d" + "0143" + "91" + "90" + "5a",
	"object": "43" + "0143" + "92" + "0161" + "0162" + "60" + "91" + "92", "object long": "43" + "0143" + "91" + "0161" + "4f" + "90" + "91",
	"reference": "5190",
}

func TestSkip(t *testing.T) {
	for name, text := range values {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(name, err)
		}
		r := &reader{}
		r.reset(append(b, 'T'))
		r.skip()
		if r.bad != nil || r.i != len(b) {
			t.Errorf("%s: went over %d of %d bytes: %v", name, r.i, len(b), r.bad)
		}
		for n := range b {
			if r.reset(b[:n]); name != "empty string" {
				r.skip()
			}
			if n > 0 && r.bad == nil && r.i > n {
				t.Errorf("%s: went over more than there is", name)
			}
		}
	}
}

func TestStrings(t *testing.T) {
	for _, s := range []string{"", "hello", strings.Repeat("ab", 20), strings.Repeat("ü", 700), strings.Repeat("x😀", 40000)} {
		r := &reader{}
		r.reset(appendStr(nil, s))
		if got := string(r.str()); got != s || r.bad != nil || r.i != len(r.b) {
			t.Errorf("%d bytes became %d: %v", len(s), len(got), r.bad)
		}
	}
}

// request is a call of hello("x", an object), with attachments.
func request(flags byte, id uint64) []byte {
	b := appendStr(nil, "2.0.2")
	b = appendStr(b, "org.x.Demo")
	b = appendStr(b, "1.2.0")
	b = appendStr(b, "hello")
	b = appendStr(b, "Ljava/lang/String;[ILorg/x/T;")
	b = appendStr(b, "x")
	b = append(b, 0x72, 4, '[', 'i', 'n', 't', 0x90, 0x91)
	b = append(b, 'C', 5, 'o', 'r', 'g', '.', 'T', 0x91, 1, 'a', 0x60, 'T')
	b = append(b, 'H')
	for _, s := range []string{"path", "org.x.Demo", "interface", "org.x.Demo", "version", "1.2.0", "batchId", "7"} {
		b = appendStr(b, s)
	}
	b = append(appendStr(b, "number"), 0x97)
	return frame(nil, flags, 0, id, append(b, 'Z'))
}

func answer(state byte, id uint64, body string) []byte {
	return frame(nil, hessian2, state, id, []byte(body))
}

func TestCodec(t *testing.T) {
	call := map[string]string{
		":authority": "org.x.Demo", ":method": "hello", ":path": "/org.x.Demo/hello", "interface": "org.x.Demo", "version": "1.2.0", "batchid": "7", "number": "",
	}
	codectest.Check(t, &Protocol, []codectest.Sample{
		{Name: "request", Raw: request(flagRequest|flagTwoWay|hessian2, 1<<40), Kind: codec.Request, ID: 1 << 40, Want: call},
		{Name: "one way", Raw: request(flagRequest|hessian2, 3), Kind: codec.OneWay, ID: 3, Want: call},
		{Name: "heartbeat", Raw: frame(nil, flagRequest|flagTwoWay|flagEvent|hessian2, 0, 4, []byte("N")), Kind: codec.Heartbeat, ID: 4},
		{Name: "read-only", From: codec.Server, Raw: frame(nil, flagRequest|flagEvent|hessian2, 0, 0, []byte("\x01R")), Kind: codec.GoAway},
		{Name: "value", From: codec.Server, Raw: answer(stateOK, 5, "\x91\x05hello"), Kind: codec.Response, ID: 5, Want: map[string]string{":status": "200"}},
		{Name: "attachments", From: codec.Server, Raw: answer(stateOK, 5, "\x94\x05helloH\x01k\x01vZ"), Kind: codec.Response, ID: 5,
			Want: map[string]string{":status": "200", "k": "v"}},
		{Name: "exception", From: codec.Server, Raw: answer(stateOK, 5, "\x90\x04oops"), Kind: codec.Response, ID: 5, Want: map[string]string{":status": "500"}},
		{Name: "not found", From: codec.Server, Raw: answer(stateServiceNotFound, 5, "\x04oops"), Kind: codec.Response, ID: 5, Want: map[string]string{":status": "404"}},
	})
}

// TestChanges: what rules change is changed, and all else stays as it was.
func TestChanges(t *testing.T) {
	c := Protocol.New()
	raw := request(flagRequest|flagTwoWay|hessian2, 1)
	out, err := c.Encode(nil, raw, codec.Client, 2, []codec.Change{
		{Name: "batchid", Value: "8"}, {Name: "tag", Value: strings.Repeat("long", 100)}, {Name: "path", Remove: true}, {Name: ":authority", Value: "org.y.Other"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := codec.Message{Head: &filter.Headers{}}
	if err := c.Decode(out, codec.Client, &m); err != nil || m.Size != len(out) {
		t.Fatalf("%v, %d of %d bytes", err, m.Size, len(out))
	}
	for name, want := range map[string]string{"batchid": "8", "tag": strings.Repeat("long", 100), "path": "", ":authority": "org.y.Other", ":method": "hello", "version": "1.2.0"} {
		if got := m.Head.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !bytes.Contains(out, []byte("\x07batchId\x018")) || !bytes.Contains(out, []byte("\x06number\x97")) {
		t.Errorf("names lost their case, or values their kind: %q", out)
	}
	out, err = c.Encode(nil, answer(stateOK, 5, "\x91\x05hello"), codec.Server, 5, []codec.Change{{Name: "k", Value: "v"}})
	if want := answer(stateOK, 5, "\x94\x05helloH\x01k\x01vZ"); err != nil || !bytes.Equal(out, want) {
		t.Errorf("got %q, want %q: %v", out, want, err)
	}
}

// TestUnreadable: an answer whose value cannot be read is passed on, for the connection is that of many clients.
func TestUnreadable(t *testing.T) {
	for name, raw := range map[string][]byte{
		"no Hessian": answer(stateOK, 5, "\x91\x40"),
		"deep":       answer(stateOK, 5, "\x91"+strings.Repeat("\x79", 3*maxDepth)+"N"),
	} {
		c, m := Protocol.New(), codec.Message{Head: &filter.Headers{}}
		if err := c.Decode(raw, codec.Server, &m); err != nil || m.Head.Status != 200 || m.Size != len(raw) {
			t.Errorf("%s: status %d, %d of %d bytes, %v", name, m.Head.Status, m.Size, len(raw), err)
		}
	}
	c, m := Protocol.New(), codec.Message{Head: &filter.Headers{}}
	list := answer(stateOK, 5, "\x94"+strings.Repeat("\x79", 1000)+"NH\x01k\x01vZ") // a long chain of objects is
	if err := c.Decode(list, codec.Server, &m); err != nil || m.Head.Get("k") != "v" {
		t.Errorf("a chain of 1000: %v", err)
	}
}

// TestTypedMap: the type of the attachments stays, for others may refer to it by its number.
func TestTypedMap(t *testing.T) {
	c := Protocol.New()
	out, err := c.Encode(nil, answer(stateOK, 5, "\x94\x05helloM\x01t\x01k\x01vZ"), codec.Server, 5, []codec.Change{{Name: "l", Value: "w"}})
	if want := answer(stateOK, 5, "\x94\x05helloM\x01t\x01k\x01v\x01l\x01wZ"); err != nil || !bytes.Equal(out, want) {
		t.Errorf("got %q, want %q: %v", out, want, err)
	}
}

// TestAnswers of the proxy's own.
func TestAnswers(t *testing.T) {
	c := Protocol.New()
	m := &codec.Message{Kind: codec.Request, ID: 9, Tag: hessian2}
	for status, state := range map[int]byte{404: stateServiceNotFound, 429: stateThreadPool, 403: stateBadRequest, 504: stateServerTimeout, 503: stateServerError} {
		got := c.Answer(nil, m, codec.Answer{Status: status, Text: "why"})
		if want := answer(state, 9, "\x03why"); !bytes.Equal(got, want) {
			t.Errorf("%d: %q, want %q", status, got, want)
		}
	}
	m.Kind = codec.Heartbeat
	if got := c.Answer(nil, m, codec.Answer{Status: 200}); !bytes.Equal(got, frame(nil, flagEvent|hessian2, stateOK, 9, []byte("N"))) {
		t.Errorf("heartbeat: %q", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(request(flagRequest|flagTwoWay|hessian2, 1), true)
	f.Add(answer(stateOK, 5, "\x94\x05helloH\x01k\x01vZ"), false)
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		from := codec.Server
		if client {
			from = codec.Client
		}
		c := Protocol.New()
		m := codec.Message{Head: &filter.Headers{}}
		if c.Decode(b, from, &m) != nil || m.Size == 0 || m.Size > len(b) {
			return
		}
		out, err := c.Encode(nil, b[:m.Size], from, m.ID, nil)
		if err != nil || !bytes.Equal(out, b[:m.Size]) {
			t.Fatalf("%q became %q: %v", b[:m.Size], out, err)
		}
		out, err = c.Encode(nil, b[:m.Size], from, 3, []codec.Change{{Name: "k", Value: "v"}})
		if err != nil {
			return
		}
		n := codec.Message{Head: &filter.Headers{}}
		if err := c.Decode(out, from, &n); err != nil || n.Size != len(out) || n.ID != 3 {
			t.Fatalf("after a change: %q, %v", out, err)
		}
	})
}

// TestAppendStr: a string is read again as it was written, and what is behind it stays where it is.
func TestAppendStr(t *testing.T) {
	long := strings.Repeat("x", 0x7fff)
	for s, want := range map[string]string{
		"": "", "plain": "plain", long + "y": long + "y", long[1:] + "\U0001f600" + long: long[1:] + "\U0001f600" + long,
		"cut \xf0": "cut ?", "cut \xe4\xb8": "cut ??", "\xf0" + long + "\xf0" + long + "\xf0": "\xf0" + long + "\xf0" + long + "?",
	} {
		r := &reader{}
		r.reset(append(appendStr(nil, s), 'T'))
		if got := string(r.str()); got != want || r.bad != nil || r.i != len(r.b)-1 {
			t.Errorf("%.20q of %d bytes became %.20q of %d: %v", s, len(s), got, len(got), r.bad)
		}
	}
}
