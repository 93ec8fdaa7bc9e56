package thrift

import (
	"bytes"
	"context"
	"strings"
	"testing"

	apache "github.com/apache/thrift/lib/go/thrift"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/proxy/filter"
)

// forms are the transports and protocols that Apache's library writes.
var forms = map[string]func(apache.TTransport) apache.TProtocol{
	"unframed binary":  func(t apache.TTransport) apache.TProtocol { return apache.NewTBinaryProtocolConf(t, nil) },
	"unframed compact": func(t apache.TTransport) apache.TProtocol { return apache.NewTCompactProtocolConf(t, nil) },
	"framed binary": func(t apache.TTransport) apache.TProtocol {
		return apache.NewTBinaryProtocolConf(apache.NewTFramedTransportConf(t, nil), nil)
	},
	"framed compact": func(t apache.TTransport) apache.TProtocol {
		return apache.NewTCompactProtocolConf(apache.NewTFramedTransportConf(t, nil), nil)
	},
	"header binary":  func(t apache.TTransport) apache.TProtocol { return headed(t, apache.THeaderProtocolBinary) },
	"header compact": func(t apache.TTransport) apache.TProtocol { return headed(t, apache.THeaderProtocolCompact) },
}

func headed(t apache.TTransport, id apache.THeaderProtocolID) apache.TProtocol {
	p := apache.NewTHeaderProtocolConf(t, &apache.TConfiguration{THeaderProtocolID: apache.THeaderProtocolIDPtrMust(id)})
	p.SetWriteHeader("user", "jason")
	return p
}

// message writes one with a struct of all kinds of values.
func message(t testing.TB, form, name string, typ apache.TMessageType, seq int32, firstField int16) []byte {
	t.Helper()
	ctx, buf := context.Background(), apache.NewTMemoryBuffer()
	p := forms[form](buf)
	must := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(p.WriteMessageBegin(ctx, name, typ, seq), p.WriteStructBegin(ctx, "args"))
	field := func(typ apache.TType, id int16, value func() error) {
		must(p.WriteFieldBegin(ctx, "f", typ, id), value(), p.WriteFieldEnd(ctx))
	}
	field(apache.STRING, firstField, func() error { return p.WriteString(ctx, "hello") })
	field(apache.BOOL, firstField+1, func() error { return p.WriteBool(ctx, true) })
	field(apache.I64, firstField+20, func() error { return p.WriteI64(ctx, -1<<40) })
	field(apache.DOUBLE, firstField+21, func() error { return p.WriteDouble(ctx, 1.5) })
	field(apache.LIST, firstField+22, func() error {
		must(p.WriteListBegin(ctx, apache.BOOL, 20))
		for range 20 {
			must(p.WriteBool(ctx, false))
		}
		return p.WriteListEnd(ctx)
	})
	field(apache.MAP, firstField+23, func() error {
		must(p.WriteMapBegin(ctx, apache.STRING, apache.STRUCT, 1), p.WriteString(ctx, "k"), p.WriteStructBegin(ctx, "inner"))
		must(p.WriteFieldBegin(ctx, "g", apache.I16, 300), p.WriteI16(ctx, 7), p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
		return p.WriteMapEnd(ctx)
	})
	field(apache.MAP, firstField+24, func() error {
		must(p.WriteMapBegin(ctx, apache.I32, apache.I32, 0))
		return p.WriteMapEnd(ctx)
	})
	must(p.WriteFieldStop(ctx), p.WriteStructEnd(ctx), p.WriteMessageEnd(ctx), p.Flush(ctx))
	return bytes.Clone(buf.Bytes())
}

func TestCodec(t *testing.T) {
	var samples []codectest.Sample
	for form := range forms {
		samples = append(samples,
			codectest.Sample{Name: form + " call", Raw: message(t, form, "Calc:add", apache.CALL, 7, 1), ID: 7, Want: map[string]string{":method": "add", ":authority": "Calc", ":path": "/Calc/add"}},
			codectest.Sample{Name: form + " one way", Raw: message(t, form, "ping", apache.ONEWAY, 300, 1), Kind: codec.OneWay, ID: 300, Want: map[string]string{":path": "/ping"}},
			codectest.Sample{Name: form + " result", From: codec.Server, Raw: message(t, form, "add", apache.REPLY, 7, 0), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "200"}},
			codectest.Sample{Name: form + " declared exception", From: codec.Server, Raw: message(t, form, "add", apache.REPLY, 7, 1), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "500"}},
		)
		if strings.HasPrefix(form, "header") {
			samples[len(samples)-4].Want["user"] = "jason"
		}
	}
	codectest.Check(t, &Protocol, samples)
}

// TestUnframedGoesOn: of a message whose end is not known nothing is looked at twice.
func TestUnframedGoesOn(t *testing.T) {
	for form := range forms {
		raw := message(t, form, "add", apache.CALL, 7, 1)
		c, m := Protocol.New(), codec.Message{}
		half := len(raw) / 2
		if err := c.Decode(raw[:half], codec.Client, &m); err != nil {
			t.Fatal(err)
		}
		if m.Size != 0 {
			continue // framed
		}
		w, ok := m.Memo.(*walk)
		if !ok || w.at < half/2 {
			t.Fatalf("%s: nothing is remembered of %d bytes", form, half)
		}
		spoilt := bytes.Clone(raw)
		for i := c.(*conn).l.args; i < w.at; i++ {
			spoilt[i] = 0xee
		}
		m = codec.Message{Memo: m.Memo}
		if err := c.Decode(spoilt, codec.Client, &m); err != nil || m.Size != len(raw) {
			t.Errorf("%s: %d of %d bytes, %v", form, m.Size, len(raw), err)
		}
	}
}

// TestRenumbered: what has another number is still what it was, to Apache's library.
func TestRenumbered(t *testing.T) {
	for form := range forms {
		for _, seq := range []uint64{1, 127, 128, 1 << 20, 1<<31 - 1} {
			c := Protocol.New()
			raw := message(t, form, "add", apache.CALL, 5, 1)
			out, err := c.Encode(nil, raw, codec.Client, seq, nil)
			if err != nil {
				t.Fatal(form, err)
			}
			back, err := c.Encode(nil, out, codec.Client, 5, nil)
			if err != nil || !bytes.Equal(back, raw) {
				t.Errorf("%s: there and back it is another message", form)
			}
			name, typ, id, text := read(t, form, out)
			if name != "add" || typ != apache.CALL || uint64(id) != seq || text != "hello" { //nolint:gosec // small
				t.Errorf("%s: %s %v %d %q", form, name, typ, id, text)
			}
		}
	}
}

// read reads a message's head and its first field.
func read(t testing.TB, form string, b []byte) (name string, typ apache.TMessageType, seq int32, text string) {
	t.Helper()
	ctx, buf := context.Background(), apache.NewTMemoryBuffer()
	buf.Write(b)
	p := forms[form](buf)
	name, typ, seq, err := p.ReadMessageBegin(ctx)
	if err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	if typ == apache.EXCEPTION {
		e := apache.NewTApplicationException(0, "")
		if err := e.Read(ctx, p); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		return name, typ, seq, strings.Repeat("!", int(e.TypeId())) + e.Error()
	}
	_, _ = p.ReadStructBegin(ctx)
	_, _, _, _ = p.ReadFieldBegin(ctx)
	if text, err = p.ReadString(ctx); err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	return name, typ, seq, text
}

// TestAnswers: the proxy's own are exceptions to Apache's library, in the form of the request.
func TestAnswers(t *testing.T) {
	for form := range forms {
		c := Protocol.New()
		m := codec.Message{}
		if err := c.Decode(message(t, form, "add", apache.CALL, 300, 1), codec.Client, &m); err != nil {
			t.Fatal(err)
		}
		m.Note = bytes.Clone(m.Note)
		out := c.Answer(nil, &m, codec.Answer{Status: 404, Text: "no route"})
		name, typ, seq, text := read(t, form, out)
		if name != "add" || typ != apache.EXCEPTION || seq != 300 || text != "!no route" {
			t.Errorf("%s: %s %v %d %q", form, name, typ, seq, text)
		}
		n := codec.Message{Head: &filter.Headers{}}
		if err := c.Decode(out, codec.Server, &n); err != nil || n.Size != len(out) || n.Head.Status != 404 {
			t.Errorf("%s: read again it is %+v, %v", form, n, err)
		}
	}
}

// TestChanges of the headers of THeader; other transports refuse them.
func TestChanges(t *testing.T) {
	changes := []codec.Change{{Name: "user", Value: "anna"}, {Name: "traceparent", Value: "00-1"}}
	for form := range forms {
		c := Protocol.New()
		out, err := c.Encode(nil, message(t, form, "add", apache.CALL, 5, 1), codec.Client, 5, changes)
		if err != nil {
			t.Fatal(err)
		}
		m := codec.Message{Head: &filter.Headers{}}
		if err := c.Decode(out, codec.Client, &m); err != nil {
			t.Fatal(form, err)
		}
		want := ""
		if strings.HasPrefix(form, "header") {
			want = "anna 00-1"
		}
		if got := strings.TrimSpace(m.Head.Get("user") + " " + m.Head.Get("traceparent")); got != want {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
		if name, _, _, text := read(t, form, out); name != "add" || text != "hello" {
			t.Errorf("%s: the message itself is another: %s %q", form, name, text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for form := range forms {
		f.Add(message(f, form, "a:b", apache.CALL, 5, 1), true)
		f.Add(message(f, form, "b", apache.REPLY, 5, 0), false)
	}
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
		again := codec.Message{} // piece by piece it is the same message
		for n := range m.Size + 1 {
			if again = (codec.Message{Memo: again.Memo}); n < 1<<10 || n == m.Size {
				if err := c.Decode(b[:n:n], from, &again); err != nil {
					t.Fatalf("%q: the first %d bytes: %v", b, n, err)
				}
			}
		}
		if again.Size != m.Size || again.ID != m.ID || again.Kind != m.Kind {
			t.Fatalf("%q: %+v, piece by piece %+v", b, m, again)
		}
		for _, changes := range [][]codec.Change{nil, {{Name: "k", Value: "v"}}} {
			out, err := c.Encode(nil, b[:m.Size], from, 3, changes)
			if err != nil {
				continue
			}
			n := codec.Message{Head: &filter.Headers{}}
			if err := c.Decode(out, from, &n); err != nil || n.Size != len(out) || n.ID != 3 || n.Kind != m.Kind {
				t.Fatalf("%q with another number: %q, %+v, %v", b[:m.Size], out, n, err)
			}
		}
	})
}
