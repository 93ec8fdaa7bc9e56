package declared

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
	"github.com/weftmesh/weft/wire/protocol"
)

func order(kind byte, id uint32, head, body string) []byte {
	b := []byte{'O', 'R', kind, 0x25}
	b = binary.BigEndian.AppendUint32(b, uint32(16+len(head)+len(body)))
	b = binary.BigEndian.AppendUint32(b, id)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	return append(append(b, head...), body...)
}

func bolt(id uint32, body string, pairs ...string) []byte {
	var head []byte
	for _, s := range pairs {
		head = append(binary.BigEndian.AppendUint32(head, uint32(len(s))), s...)
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(4+2+len(head)+len(body)))
	b = binary.LittleEndian.AppendUint32(b, id)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(head)))
	return append(append(b, head...), body...)
}

func tagged(tags ...string) []byte {
	var b []byte
	for _, s := range tags {
		b = append(append(b, s[0], byte(len(s)-1)), s[1:]...)
	}
	return append(fmt.Appendf(nil, "%04d", 4+len(b)), b...)
}

// TestContract holds declared protocols to the contract of codecs.
func TestContract(t *testing.T) {
	for _, p := range []struct {
		name, yaml string
		samples    []codectest.Sample
	}{
		{"orders", ordersYAML, []codectest.Sample{
			{Name: "request", Raw: order(1, 7, "op=buy\nUser=jo\n", "body"), Kind: codec.Request, ID: 7, Want: map[string]string{":method": "buy", ":path": "/buy", "user": "jo", "flag": "5"}},
			{Name: "answer", From: codec.Server, Raw: order(2, 7, "status=0\n", ""), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "200"}},
			{Name: "busy", From: codec.Server, Raw: order(2, 8, "status=busy", "x"), Kind: codec.Response, ID: 8, Want: map[string]string{":status": "503"}},
			{Name: "odd", From: codec.Server, Raw: order(2, 8, "status=odd", "x"), Kind: codec.Response, ID: 8, Want: map[string]string{":status": "500"}},
			{Name: "error", From: codec.Server, Raw: order(6, 8, "", "x"), Kind: codec.Response, ID: 8, Want: map[string]string{":status": "500"}},
			{Name: "one way", Raw: order(3, 1, "op=log", ""), Kind: codec.OneWay, ID: 1},
			{Name: "heartbeat", Raw: order(4, 2, "", ""), Kind: codec.Heartbeat, ID: 2},
			{Name: "its reply", From: codec.Server, Raw: order(5, 2, "", ""), Kind: codec.HeartbeatReply, ID: 2},
		}},
		{"json", rpcYAML, []codectest.Sample{
			{Name: "request", Raw: []byte(`{"jsonrpc": "2.0", "id": 7, "method": "buy", "params": {"user": "j\"\u00f6", "list": [1, {"a": ","}]}, "meta": {"Tag": "x", "n": 3}}` + "\n"), Kind: codec.Request, ID: 7,
				Want: map[string]string{":method": "buy", "user": "j\"ö", "second": "", "tag": "x", "n": "3"}},
			{Name: "answer", From: codec.Server, Raw: []byte(`{"id": 7, "result": []}` + "\n"), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "200"}},
			{Name: "error", From: codec.Server, Raw: []byte(`{"id": 7, "error": {"code": -32601}}` + "\n"), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "500"}},
		}},
		{"bolt", boltYAML, []codectest.Sample{
			{Name: "request", Raw: bolt(9, "body", "service", "a.B", "Tag", "x"), Kind: codec.Request, ID: 9, Want: map[string]string{":authority": "a.B", ":path": "/a.B/", "tag": "x"}},
		}},
		{"tlv", tlvYAML, []codectest.Sample{
			{Name: "request", Raw: tagged("\x01\x01", "\x02buy", "\x03jo", "\x04\x01\x02"), Kind: codec.Request, Want: map[string]string{":method": "buy", "user": "jo", "size": "258"}},
			{Name: "answer", From: codec.Server, Raw: tagged("\x01\x02", "\x09\x00"), Kind: codec.Response, Want: map[string]string{":status": "200"}},
			{Name: "error", From: codec.Server, Raw: tagged("\x01\x02", "\x09\x01"), Kind: codec.Response, Want: map[string]string{":status": "500"}},
		}},
		{"fixed", fixedYAML, []codectest.Sample{
			{Name: "request", Raw: []byte("Q...buy     000042......"), Kind: codec.Request, Want: map[string]string{":method": "buy", "price": "000042"}},
			{Name: "error", From: codec.Server, Raw: []byte("E..................     "), Kind: codec.Response, Want: map[string]string{":status": "500"}},
		}},
		{"words", wordsYAML, []codectest.Sample{
			{Name: "request", Raw: []byte("GET  name\n x\r\n"), Kind: codec.Request, Want: map[string]string{":method": "GET", "key": "name\n"}},
		}},
	} {
		t.Run(p.name, func(t *testing.T) { codectest.Check(t, made(t, p.yaml), p.samples) })
	}
}

// TestChanges: fields are changed where they lie, and the lengths around them are right.
func TestChanges(t *testing.T) {
	set := func(name, value string) codec.Change { return codec.Change{Name: name, Value: value} }
	gone := func(name string) codec.Change { return codec.Change{Name: name, Remove: true} }
	for _, x := range []struct {
		name, yaml string
		raw, want  []byte
		changes    []codec.Change
	}{
		{"lines", ordersYAML, order(1, 7, "op=buy\nUser=jo\nx=1", "body"), order(1, 7, "op=sell\nUser=jane\nnew=n\n", "body"), []codec.Change{set("user", "jane"), gone("x"), set("new", "n"), set(":method", "sell")}},
		{"lines, no room for a line feed", ordersYAML, order(1, 7, "op=buy", "body"), order(1, 7, "op=buy", "body"), []codec.Change{set("user", "a\nb")}},
		{"number", ordersYAML, order(1, 7, "op=buy", "b"), func() []byte { b := order(1, 7, "op=buy", "b"); b[3] = 0x29; return b }(), []codec.Change{set("flag", "9")}},
		{"json", rpcYAML, []byte(`{"id": 7, "method": "a", "params": {"user": "x", "list": []}}` + "\n"), []byte(`{"id": 7, "method": "b", "params": {"user": "y\"", "list": []},"meta":{"tag":"1"}}` + "\n"), []codec.Change{set(":method", "b"), set("user", "y\""), set("tag", "1")}},
		{"json, empty", rpcYAML, []byte(`{"id": 7, "meta": { } }` + "\n"), []byte(`{"id": 7, "meta": { "tag":"1\u000a"} ,"params":{"user":"u"}}` + "\n"), []codec.Change{set("tag", "1\n"), set("user", "u")}},
		{"json, away", rpcYAML, []byte(`{"id": 7, "params": {"a": 1, "user": "x"}, "meta": {"tag": 1, "b": 2}}` + "\n"), []byte(`{"id": 7, "params": {"a": 1}, "meta": { "b": 3}}` + "\n"), []codec.Change{gone("user"), gone("tag"), set("b", "3")}},
		{"pairs", boltYAML, bolt(9, "body", "service", "a.B", "Tag", "x"), bolt(9, "body", "service", "a.C", "Tag", "yy", "new", "1"), []codec.Change{set(":authority", "a.C"), set("tag", "yy"), set("new", "1")}},
		{"pairs, away", boltYAML, bolt(9, "body", "service", "a.B", "Tag", "x"), bolt(9, "body", "service", "a.B"), []codec.Change{gone("tag")}},
		{"tlv", tlvYAML, tagged("\x01\x01", "\x02buy", "\x04\x01\x02"), tagged("\x01\x01", "\x02sell", "\x04\x00\x10", "\x03jo"), []codec.Change{set(":method", "sell"), set("size", "16"), set("user", "jo")}},
		{"fixed", fixedYAML, []byte("Q...buy     000042......"), []byte("Q...sell    000007......"), []codec.Change{set(":method", "sell"), set("price", "7")}},
		{"words stay", wordsYAML, []byte("GET name\r\n"), []byte("GET name\r\n"), []codec.Change{set("key", "other")}},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := made(t, x.yaml)
			id := decoded(t, p, codec.Client, x.raw).ID
			got, err := p.New().Encode([]byte("-"), x.raw, codec.Client, id, x.changes)
			if err != nil || string(got[1:]) != string(x.want) {
				t.Errorf("%q, want %q (%v)", got[1:], x.want, err)
			}
			if decoded(t, p, codec.Client, got[1:]).Fault != nil {
				t.Error("it cannot be read again")
			}
		})
	}
}

// TestTooLarge: a change that does not fit is refused, and the message is left as it was.
func TestTooLarge(t *testing.T) {
	p := made(t, tlvYAML)
	raw := tagged("\x01\x01", "\x02buy")
	got, err := p.New().Encode([]byte("-"), raw, codec.Client, 0, []codec.Change{{Name: ":method", Value: strings.Repeat("x", 300)}})
	if string(got) != "-"+string(raw) || err != nil {
		t.Errorf("%q, %v: the value has no room for its length", got, err)
	}
	p = made(t, "framing: {header: 1, length: {offset: 0, size: 1}}\nparts: [{name: h, format: lines}]\nfields: [{part: h, all: true}]")
	got, err = p.New().Encode([]byte("-"), []byte("\x05a=b\n"), codec.Client, 0, []codec.Change{{Name: "c", Value: strings.Repeat("x", 300)}})
	if string(got) != "-" || err == nil {
		t.Errorf("%q, %v: the message has no room for its length", got, err)
	}
}

// TestAnswers: what the proxy itself says is of the protocol.
func TestAnswers(t *testing.T) {
	for _, x := range []struct {
		name, yaml string
		raw        []byte
		status     int
		want       []byte
	}{
		{"orders", ordersYAML, order(1, 7, "op=buy\n", "body"), 404, order(6, 7, "status=unknown\n", "no\nroute")},
		{"orders, another", ordersYAML, order(1, 7, "op=buy\n", "body"), 503, order(6, 7, "status=broken\n", "no\nroute")},
		{"heartbeat", ordersYAML, order(4, 9, "", "ping"), 200, order(5, 9, "", "ping")},
		{"json", rpcYAML, []byte(`{"id": 7, "method": "a"}` + "\n"), 404, []byte(`{"id":7,"error":{"code":-32601,"message":"no\u000aroute"}}` + "\n")},
		{"bolt", boltYAML, bolt(9, "body", "service", "a.B"), 404, bolt(9, "")},
		{"tlv", tlvYAML, tagged("\x01\x01", "\x02buy"), 404, tagged("\x01\x02", "\x09\x07")},
		{"fixed", fixedYAML, []byte("Q...buy     000042......"), 404, append([]byte("E..."), make([]byte, 20)...)},
		{"words", wordsYAML, []byte("GET name\r\n"), 404, []byte("\r\n")},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := made(t, x.yaml)
			m := decoded(t, p, codec.Client, x.raw)
			got := p.New().Answer(nil, &m, codec.Answer{Status: x.status, Text: "no\nroute"})
			if string(got) != string(x.want) {
				t.Errorf("%q, want %q", got, x.want)
			}
		})
	}
}

// TestBroken: what cannot be read is refused alone where its border is known, and else with its connection.
func TestBroken(t *testing.T) {
	p := made(t, ordersYAML)
	long := order(1, 7, "op=buy\n", "body")
	long[15] = 200
	if m := decoded(t, p, codec.Client, long); m.Fault == nil || m.ID != 7 || m.Kind != codec.Request {
		t.Errorf("%+v", m)
	}
	m := decoded(t, made(t, rpcYAML), codec.Client, []byte("{\"id\": \"x\"}\n"))
	if m.Fault == nil {
		t.Error("a number that is none has no fault")
	}
	for name, raw := range map[string]string{"magic": "XR\x01", "short": "OR\x01\x00\x00\x00\x00\x03", "long": "OR\x01\x00\xff\xff\xff\xff"} {
		if err := p.New().Decode([]byte(raw), codec.Client, &codec.Message{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCheck: what is wrong in a declaration is named.
func TestCheck(t *testing.T) {
	at, tag := 0, 1
	for want, d := range map[string]protocol.Declaration{
		"framing:":                 {},
		"framing.length.size:":     {Framing: protocol.Framing{Header: 8, Length: &protocol.Number{Size: 9}}},
		"framing.length.offset:":   {Framing: protocol.Framing{Header: 2, Length: &protocol.Number{Size: 4}}},
		"framing.magic:":           {Framing: protocol.Framing{Fixed: 9, Magic: "0xabc"}},
		"parts[0].format:":         {Framing: protocol.Framing{Fixed: 9}, Parts: []protocol.Part{{Name: "a", Format: "xml"}}},
		"parts[0]:":                {Framing: protocol.Framing{Fixed: 9}, Parts: []protocol.Part{{Name: "a"}, {Name: "b"}}},
		"parts[1].name:":           {Framing: protocol.Framing{Fixed: 9}, Parts: []protocol.Part{{Name: "a", Prefix: &protocol.Number{Size: 1}}, {Name: "a"}}},
		"id.part:":                 {Framing: protocol.Framing{Fixed: 9}, ID: &protocol.Place{Part: "x"}},
		"id:":                      {Framing: protocol.Framing{Fixed: 9}, ID: &protocol.Place{}},
		"id.tag:":                  {Framing: protocol.Framing{Fixed: 9}, Parts: []protocol.Part{{Name: "a"}}, ID: &protocol.Place{Part: "a", Tag: &tag}},
		"method[0].path:":          {Framing: protocol.Framing{Fixed: 9}, Parts: []protocol.Part{{Name: "a", Format: "protobuf"}}, Method: []protocol.Place{{Part: "a", Path: "x"}}},
		"fields[0].name:":          {Framing: protocol.Framing{Fixed: 9}, Fields: []protocol.Field{{Name: "A", Place: protocol.Place{Offset: &at, Size: 1}}}},
		"type.values.question:":    {Framing: protocol.Framing{Fixed: 9}, Type: &protocol.Type{Place: protocol.Place{Offset: &at, Size: 1}, Values: map[string][]protocol.Value{"question": {"1"}}}},
		"type.values.response[0]:": {Framing: protocol.Framing{Fixed: 9}, Type: &protocol.Type{Place: protocol.Place{Offset: &at, Size: 1}, Values: map[string][]protocol.Value{"request": {"1"}, "response": {"1"}}}},
		"stream.id:":               {Framing: protocol.Framing{Fixed: 9}, Type: &protocol.Type{Place: protocol.Place{Offset: &at, Size: 1}, Values: map[string][]protocol.Value{"streamOpen": {"1"}}}},
		"order:":                   {Framing: protocol.Framing{Fixed: 9}, Order: "random"},
		"status.codes.often:":      {Framing: protocol.Framing{Fixed: 9}, Status: &protocol.Status{Place: protocol.Place{Offset: &at, Size: 1}, Codes: map[string]protocol.Value{"often": "1"}}},
	} {
		if _, err := New("x", &d); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
