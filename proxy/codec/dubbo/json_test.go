package dubbo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

func generics(t testing.TB, path, body string, fields ...string) ([]byte, *filter.Headers, error) {
	t.Helper()
	h := &filter.Headers{Method: "POST", Path: path}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	raw, _, err := Protocol.JSON.Request(h, []byte(body))
	if err != nil {
		return nil, nil, err
	}
	m := codec.Message{Head: &filter.Headers{}}
	if err := Protocol.New().Decode(raw, codec.Client, &m); err != nil || m.Fault != nil || m.Size != len(raw) || m.Kind != codec.Request {
		t.Fatalf("%s: %v, %+v", body, err, m)
	}
	return raw, m.Head, nil
}

// TestGenericRequests: what was made of JSON is read by the codec, and is JSON again.
func TestGenericRequests(t *testing.T) {
	for body, want := range map[string]string{
		``:                                `[null,[]]`,
		`[]`:                              `[null,[]]`,
		`[1,"a",null,true,1.5]`:           `[null,[1,"a",null,true,1.5]]`,
		`{"id":7,"tags":["x"],"deep":{}}`: `[null,[{"id":7,"tags":["x"],"deep":{}}]]`,
		`{"args":[{"args":1}],"types":["org.x.User"]}`: `[["org.x.User"],[{"args":1}]]`,
		`{"args":[3],"more":1}`:                        `[null,[{"args":[3],"more":1}]]`,
		`"text"`:                                       `[null,["text"]]`,
		` 9223372036854775807 `:                        `[null,[9223372036854775807]]`,
		`[-17,48,-2147483648,2147483648]`:              `[null,[-17,48,-2147483648,2147483648]]`,
		`["` + strings.Repeat("ü", 40000) + `😀"]`:      `[null,["` + strings.Repeat("ü", 40000) + `😀"]]`,
	} {
		raw, h, err := generics(t, "/org.x.Demo/say?version=1.2&group=g", body, "dubbo-User", "jason", "accept", "*/*")
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if h.Authority != "org.x.Demo" || h.Method != "say" || h.Path != "/org.x.Demo/say" || h.Get("version") != "1.2" || h.Get("group") != "g" || h.Get("generic") != "true" {
			t.Errorf("%s: %+v", body, h)
		}
		p := printer{reader: reader{b: raw[headLen:]}}
		for range 6 { // versions, service, method, types, the method that is meant
			p.str()
		}
		p.out = append(p.out, '[')
		p.value()
		p.out = append(p.out, ',')
		p.value()
		p.out = append(p.out, ']')
		if string(p.out) != want || p.bad != nil {
			t.Errorf("%.50s: %.200s, want %.200s (%v)", body, p.out, want, p.bad)
		}
	}
	for path, body := range map[string]string{"/": "", "/a": "", "/a/b/c": "", "/a/b": `[1`, "/a/c": `{"x"}`, "/a/d": `[1] 2`, "/a/e?%zz": ""} {
		if _, _, err := generics(t, path, body); err == nil {
			t.Errorf("%s with %q: no error", path, body)
		}
	}
}

// TestGenericMethod: rules that change the method of a generic call change the one that is meant.
func TestGenericMethod(t *testing.T) {
	raw, _, err := generics(t, "/org.x.Demo/say", `["a"]`)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Protocol.New().Encode(nil, raw, codec.Server, 7, []codec.Change{{Name: ":method", Value: "shout"}, {Name: "tag", Value: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	m := codec.Message{Head: &filter.Headers{}}
	if err := Protocol.New().Decode(out, codec.Client, &m); err != nil || m.Head.Method != "shout" || m.Head.Get("tag") != "t" || m.ID != 7 {
		t.Errorf("%v, %+v %+v", err, m, m.Head)
	}
	if !strings.Contains(string(out), genericMethod) {
		t.Error("it is no generic call any more")
	}
}

// TestValues: each form of Hessian 2 in JSON. The bytes are those of the specification's examples.
func TestValues(t *testing.T) {
	for in, want := range map[string]string{
		"N": "null", "T": "true", "F": "false", "\x90": "0", "\xc8\x30": "48", "\xd4\x00\x00": "0", "I\xff\xff\xff\xff": "-1",
		"\xe0": "0", "\xd8": "-8", "\xf8\x00": "0", "\xf0\x00": "-2048", "\x3c\x00\x00": "0", "\x38\x00\x00": "-262144", "\x59\x80\x00\x00\x00": "-2147483648",
		"L\x00\x00\x00\x00\x80\x00\x00\x00": "2147483648", "\x5b": "0", "\x5c": "1", "\x5d\x80": "-128", "\x5e\x80\x00": "-32768", "\x5f\x00\x00\x2f\xda": "12.25",
		"D\x40\x28\x80\x00\x00\x00\x00\x00": "12.25", "D\x7f\xf8\x00\x00\x00\x00\x00\x00": "null",
		"\x4a\x00\x00\x00\xd0\x4b\x92\x84\xb8": `"1998-05-08T09:51:31Z"`, "\x4b\x00\xe3\x83\x8f": `"1998-05-08T09:51:00Z"`,
		"\x05hello": `"hello"`, "R\x00\x01aS\x00\x01b": `"ab"`, "\x23\x01\x02\x03": `"AQID"`, "A\x00\x01\x01\x21\x02": `"AQI="`,
		"\x78": "[]", "\x7a\x90\x91": "[0,1]", "\x57\x90\x91Z": "[0,1]", "\x58\x92\x90\x91": "[0,1]", "V\x04[int\x92\x90\x91": "[0,1]", "\x72\x04[int\x90\x91": "[0,1]", "\x55\x04[int\x90Z": "[0]",
		"H\x91\x03fee\xa0\x03fieZ":           `{"1":"fee","16":"fie"}`,
		"M\x03a.B\x01x\x90Z":                 `{"x":0}`,
		"C\x03a.B\x92\x01x\x01y\x60\x90\x91": `{"x":0,"y":1}`,
		"C\x03a.B\x91\x01xO\x90\x05hello":    `{"x":"hello"}`,
		"\x7aH\x01a\x90ZQ\x91":               `[{"a":0},{"a":0}]`,
		"H\x04selfQ\x90Z":                    `{"self":null}`,
		"Q\x90":                              "bad", "\x60": "bad", "\x7a\x90": "bad", "I\x00": "bad", "G": "bad", "": "bad", "H\x01a": "bad",
	} {
		p := printer{reader: reader{b: []byte(in)}}
		p.value()
		got := string(p.out)
		if p.bad != nil || p.i != len(in) {
			got = "bad"
		}
		if got != want {
			t.Errorf("%q: %s, want %s (%v)", in, got, want, p.bad)
		}
	}
}

func TestResponses(t *testing.T) {
	for _, tc := range []struct {
		state  byte
		body   string
		status int
		want   string
	}{
		{stateOK, "\x91\x02ok", 200, `"ok"`},
		{stateOK, "\x92", 200, "null"},
		{stateOK, "\x94\x7a\x90\x91H\x01a\x01bZ", 200, "[0,1]"},
		{stateOK, "\x90C\x03a.E\x91\x07message\x60\x03bad", 500, `{"error":{"message":"bad"}}`},
		{stateServerTimeout, "\x04slow", 504, `{"error":"slow"}`},
		{stateOK, "\x91", 0, ""},
	} {
		status, body, err := response(frame(nil, hessian2, tc.state, 1, []byte(tc.body)))
		if tc.want == "" {
			if err == nil {
				t.Errorf("%q: no error", tc.body)
			}
			continue
		}
		if err != nil || status != tc.status || string(body) != tc.want {
			t.Errorf("%q: %d %s, %v; want %d %s", tc.body, status, body, err, tc.status, tc.want)
		}
	}
	if _, _, err := response(frame(nil, 6, stateOK, 1, nil)); err == nil {
		t.Error("another serialization: no error")
	}
}

// FuzzValue: whatever is printed without a fault is JSON, and not much of it.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"H\x91\x03fee\xa0\x03fieZ", "\x7aH\x01a\x90ZQ\x91", "C\x03a.B\x92\x01x\x01y\x60\x90\x91", "\x23\x01\x02\x03"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := printer{reader: reader{b: in}}
		if p.value(); p.bad == nil && !json.Valid(p.out) {
			t.Errorf("%q is no JSON", p.out)
		}
		if len(p.out) > 2*maxJSON+len(in)*8 {
			t.Errorf("%d bytes of %d", len(p.out), len(in))
		}
	})
}

// FuzzRequest: whatever JSON comes, the codec reads what was made of it.
func FuzzRequest(f *testing.F) {
	f.Add("/a.B/c?version=1", `[1,"x",{"a":[null]}]`)
	f.Fuzz(func(t *testing.T, path, body string) { _, _, _ = generics(t, path, body) })
}
