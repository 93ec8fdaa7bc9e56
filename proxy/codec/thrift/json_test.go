package thrift

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/thriftidl"
)

const shop = `
typedef i64 ID
enum Colour { RED, GREEN = 4 }
struct Item {
  17: required ID id, 2: optional string name, 3: Colour colour, 4: binary raw, 5: set<bool> flags, 6: Item next, 7: double price,
  8: map<string, list<i32>> shelf, 9: map<i16, bool> small, 10: map<list<byte>, Item> odd, 11: bool yes, 12: bool no, 13: uuid tag, 400: byte b, 14: i16 s
}
union Either { 1: i32 number, 2: string text }
exception NotFound { 1: string why }
exception Busy { 1: i32 again }
service Shop {
  Item get(1: Item item, 2: Either how) throws (1: NotFound no, 2: Busy busy),
  oneway void tell(1: list<Item> items);
  void ping(1: i32 n, 2: bool loud, 3: Colour colour)
}
`

func converterOf(t testing.TB, m *thriftidl.Mapping) codec.JSON {
	t.Helper()
	m.IDL = shop
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Protocol.Declare(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mappings are all transports and protocols.
func mappings() (out []*thriftidl.Mapping) {
	for _, transport := range thriftidl.Transports {
		for _, protocol := range thriftidl.Protocols {
			out = append(out, &thriftidl.Mapping{Transport: transport, Protocol: protocol, ExceptionStatus: map[string]int32{"NotFound": 404}})
		}
	}
	return out
}

// argsOf are the arguments of a message, as JSON.
func argsOf(t testing.TB, raw []byte, m *thriftidl.Method) string {
	t.Helper()
	var l layout
	if err := l.read(raw, &walk{}); err != nil || l.size != len(raw) {
		t.Fatalf("%q: %v", raw, err)
	}
	p := &printer{reader: reader{b: raw, i: l.args, compact: l.protocol == compactProtocol}}
	p.structure(m.Args, 0)
	if p.failed() != nil || p.i != len(raw) {
		t.Fatalf("%q: %v, %d of %d bytes", raw, p.failed(), p.i, len(raw))
	}
	return string(p.out)
}

// same tells whether two texts are the same JSON.
func same(t testing.TB, a, b string) string {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return cmp.Diff(x, y)
}

const everything = `{"item": {"id": 9007199254740993, "name": "ü", "colour": "GREEN", "raw": "AAEC", "flags": [true, false], "price": -1.5e300,
	"next": {"id": -1, "flags": [], "shelf": {}}, "shelf": {"a": [1, -2], "b": []}, "small": {"-3": true, "4": false},
	"odd": [{"key": [1, -128], "value": {"id": 2}}], "yes": true, "no": false, "tag": "00112233-4455-6677-8899-aabbccddeeff", "b": -7, "s": -300},
	"how": {"text": ""}}`

// TestRequests: what was made of JSON is read by the codec, and is JSON again.
func TestRequests(t *testing.T) {
	file, err := thriftidl.Parse(shop)
	if err != nil {
		t.Fatal(err)
	}
	many := `{"items": [` + strings.Repeat(`{"id": 1}, `, 20) + `{"id": 2}]}`
	for _, m := range mappings() {
		for _, multiplexed := range []bool{false, true} {
			m.Multiplexed = multiplexed
			c := converterOf(t, m)
			for _, tc := range []struct{ path, body, want string }{
				{"/Shop/get", everything, ""},
				{"/Shop/tell", many, ""},
				{"/Shop/ping", "", "{}"},
				{"/Shop/ping?n=7&loud=true&colour=RED", "", `{"n": 7, "loud": true, "colour": "RED"}`},
				{"/Shop/ping", `{"n": "8", "colour": 99}`, `{"n": 8, "colour": 99}`},
				{"/Shop/ping", `{"n": null}`, "{}"},
			} {
				h := &filter.Headers{Method: "POST", Path: tc.path}
				h.Add("thrift-user", "jason")
				raw, _, err := c.Request(h, []byte(tc.body))
				if err != nil {
					t.Errorf("%s %s: %v", tc.path, tc.body, err)
					continue
				}
				name := strings.TrimPrefix(strings.Split(tc.path, "?")[0], "/Shop/")
				want := codec.Request
				if name == "tell" {
					want = codec.OneWay
				}
				got := codec.Message{Head: &filter.Headers{}}
				if err := Protocol.New().Decode(raw, codec.Client, &got); err != nil || got.Size != len(raw) || got.Kind != want || got.Head.Method != name {
					t.Errorf("%v %s: %v %+v", m, tc.path, err, got)
				}
				if user := got.Head.Get("user"); (user == "jason") != (m.Transport == "header") || multiplexed != (got.Head.Authority == "Shop") {
					t.Errorf("%v: user %q, authority %q", m, user, got.Head.Authority)
				}
				if tc.want == "" {
					tc.want = tc.body
				}
				if d := same(t, tc.want, argsOf(t, raw, file.Services["Shop"].Methods[name])); d != "" {
					t.Errorf("%s %s: %s", tc.path, tc.body, d)
				}
			}
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	c := converterOf(t, &thriftidl.Mapping{})
	deep := `{"item": ` + strings.Repeat(`{"id": 1, "next": `, 80) + "null" + strings.Repeat("}", 81)
	for _, tc := range []struct{ path, body, want string }{
		{"/ping", "", "want /SERVICE/METHOD"},
		{"/Shop/nope", "", "no such service and method"},
		{"/Nope/ping", "", "no such service and method"},
		{"/Shop/ping", "[1]", "want an object"},
		{"/Shop/ping", "{} {}", "more behind it"},
		{"/Shop/ping", `{"m": 1}`, `ping has no "m"`},
		{"/Shop/ping", `{"n": 1.5}`, "n: want a whole number of 32 bits, got 1.5"},
		{"/Shop/ping", `{"n": 3000000000}`, "32 bits"},
		{"/Shop/ping", `{"loud": "perhaps"}`, "want true or false"},
		{"/Shop/ping", `{"colour": "BLUE"}`, "a name or number of Colour"},
		{"/Shop/ping?%zz", "", "query"},
		{"/Shop/get", `{"item": {}}`, "Item.id is required"},
		{"/Shop/get", `{"item": 7}`, "want an object for Item"},
		{"/Shop/get", `{"how": {}}`, "is a union"},
		{"/Shop/get", `{"how": {"number": 1, "text": "x"}}`, "is a union"},
		{"/Shop/get", `{"item": {"id": 1, "raw": "?"}}`, "want base64"},
		{"/Shop/get", `{"item": {"id": 1, "tag": "?"}}`, "want a UUID"},
		{"/Shop/get", `{"item": {"id": 1, "flags": {}}}`, "want an array"},
		{"/Shop/get", `{"item": {"id": 1, "odd": {}}}`, "an array of keys and values"},
		{"/Shop/get", `{"item": {"id": 1, "odd": [1]}}`, `want {"key": …`},
		{"/Shop/get", `{"item": {"id": 1, "price": true}}`, "want a number"},
		{"/Shop/get", `{"item": {"id": 1, "name": 7}}`, "want a text"},
		{"/Shop/get", deep, "nested"},
	} {
		if _, _, err := c.Request(&filter.Headers{Path: tc.path}, []byte(tc.body)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: %v, want %s", tc.path, tc.body, err, tc.want)
		}
	}
}

// reply makes an answer whose result has one field.
func reply(t testing.TB, m *thriftidl.Mapping, f thriftidl.Field, value string) []byte {
	t.Helper()
	w := &writer{compact: m.Protocol == "compact"}
	w.head("get", false)
	if w.compact {
		w.out[1] = typeReply<<5 | 1
	} else {
		w.out[3] = typeReply
	}
	values := map[string]any{}
	if value != "" {
		d := json.NewDecoder(strings.NewReader(`{"x": ` + value + `}`))
		d.UseNumber()
		if err := d.Decode(&values); err != nil {
			t.Fatal(err)
		}
	}
	f.Name = "x"
	if w.structure(&thriftidl.Struct{Name: "result", Fields: []thriftidl.Field{f}}, values, 0); w.err != nil {
		t.Fatal(w.err)
	}
	return frameOf(m, w.out)
}

func frameOf(m *thriftidl.Mapping, message []byte) []byte {
	switch m.Transport {
	case "framed":
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
	case "header":
		l := layout{}
		if m.Protocol == "compact" {
			l.protocol = compactProtocol
		}
		return append(l.appendHeader(nil, nil, len(message)), message...)
	}
	return message
}

func TestResults(t *testing.T) {
	file, err := thriftidl.Parse(shop)
	if err != nil {
		t.Fatal(err)
	}
	get, ping := file.Services["Shop"].Methods["get"], file.Services["Shop"].Methods["ping"]
	var args map[string]json.RawMessage
	if err := json.Unmarshal([]byte(everything), &args); err != nil {
		t.Fatal(err)
	}
	item := string(args["item"])
	i32, text := &thriftidl.Type{Kind: thriftidl.I32}, &thriftidl.Type{Kind: thriftidl.String}
	for _, m := range mappings() {
		c := converterOf(t, m)
		for _, tc := range []struct {
			method *thriftidl.Method
			field  thriftidl.Field
			value  string
			want   string
		}{
			{get, thriftidl.Field{ID: 0, Type: get.Result}, item, "200 " + item},
			{get, thriftidl.Field{ID: 1, Type: get.Throws[0].Type}, `{"why": "gone"}`, `404 {"error": {"why": "gone"}, "exception": "NotFound"}`},
			{get, thriftidl.Field{ID: 2, Type: get.Throws[1].Type}, `{"again": 7}`, `500 {"error": {"again": 7}, "exception": "Busy"}`},
			{ping, thriftidl.Field{ID: 1, Type: i32}, "", "200 null"},
			{ping, thriftidl.Field{ID: 1, Type: i32}, "7", "200 null"},
			{get, thriftidl.Field{ID: 3, Type: i32}, "7", "error: neither a result"},
			{get, thriftidl.Field{ID: 0, Type: text}, `"x"`, "error: neither a result"},
		} {
			_, answered, err := c.Request(&filter.Headers{Path: "/Shop/" + tc.method.Name}, nil)
			if err != nil {
				t.Fatal(err)
			}
			raw := reply(t, m, tc.field, tc.value)
			status, body, err := answered(raw)
			if want, wrong := strings.CutPrefix(tc.want, "error: "); wrong {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v: %v, want %s", m, err, want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%+v: %v", m, err)
				continue
			}
			want, text, _ := strings.Cut(tc.want, " ")
			if d := same(t, text, string(body)); d != "" || fmt.Sprint(status) != want {
				t.Errorf("%+v: %d %s", m, status, d)
			}
			for n := range raw { // what is cut short is refused
				if _, _, err := answered(raw[:n]); err == nil {
					t.Errorf("%+v: %d of %d bytes are an answer", m, n, len(raw))
				}
			}
		}
		for status, text := range map[int]string{404: "no such method", 500: "it broke"} {
			_, answered, err := c.Request(&filter.Headers{Path: "/Shop/ping"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			msg := codec.Message{Kind: codec.Request, Note: []byte("ping"), Tag: uint64(c.(*converter).transport | c.(*converter).protocol<<8)}
			raw := Protocol.New().Answer(nil, &msg, codec.Answer{Status: status, Text: text})
			got, body, err := answered(raw)
			if err != nil || got != status || string(body) != `{"error":"`+text+`"}` {
				t.Errorf("%+v: %d %s %v", m, got, body, err)
			}
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("/Shop/get", []byte(everything), []byte{}, uint8(0))
	f.Add("/Shop/ping?n=7", []byte(""), []byte{0x80, 1, 0, 2, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 0}, uint8(3))
	m := &thriftidl.Mapping{Transport: "unframed", Protocol: "compact"}
	f.Add("/Shop/get", []byte("{}"), reply(f, m, thriftidl.Field{ID: 0, Type: &thriftidl.Type{Kind: thriftidl.I32}}, "7"), uint8(3))
	var all []codec.JSON
	for _, m := range mappings() {
		all = append(all, converterOf(f, m))
	}
	file, err := thriftidl.Parse(shop)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string, body, answer []byte, form uint8) {
		raw, answered, err := all[int(form)%len(all)].Request(&filter.Headers{Path: path}, body)
		if err != nil {
			return
		}
		path, _, _ = strings.Cut(path, "?")
		name := strings.TrimPrefix(strings.TrimPrefix(path, "/"), "Shop/")
		if text := argsOf(t, raw, file.Services["Shop"].Methods[name]); !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", text)
		}
		if _, text, err := answered(bytes.Clone(answer)); err == nil && !json.Valid(text) {
			t.Errorf("%q: %s is no JSON", answer, text)
		}
	})
}
