package document_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func TestSuggest(t *testing.T) {
	fields := []string{"destination", "destinationSubnets", "retries", "sourceLabels", "uri", "match"}
	for name, want := range map[string]string{
		"destinaton": "destination", "source_labels": "sourceLabels", "SOURCELABELS": "sourceLabels", "retry": "retries",
		"mathc": "match", "url": "uri", "zzz": "", "": "", "destinationSubnet": "destinationSubnets",
	} {
		if want != "" {
			want = "did you mean " + want + "?"
		}
		if got := document.Suggest(name, fields); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestFQDN(t *testing.T) {
	for host, want := range map[string]string{
		"reviews": "reviews.prod.svc.cluster.local", "Reviews": "reviews.prod.svc.cluster.local", "a.b": "a.b", "a.B.": "a.b",
		"*": "*", "*.a": "*.a", "": "", "fd00::1": "fd00::1",
	} {
		if got := document.FQDN(host, "prod", "cluster.local"); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

func TestPortProtocol(t *testing.T) {
	for name, want := range map[string]model.Protocol{
		"http": model.HTTP, "http-web": model.HTTP, "HTTP2-x": model.HTTP2, "grpc": model.GRPC, "grpc-web": model.GRPCWeb, "grpc-web-x": model.GRPCWeb,
		"tcp-db": model.TCP, "redis": model.Redis, "mysql-1": model.MySQL, "mongo": model.Mongo, "mongodb": model.Mongo, "mariadb": model.MySQL, "postgres": model.TCP, "kafka-1": model.TCP, "tls": model.TLS, "https": model.HTTPS,
		"web": model.Unknown, "": model.Unknown, "httpx": model.Unknown, "h2c": model.Unknown, "udp-dns": model.UDP,
	} {
		if got := document.PortProtocol(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestAppOf(t *testing.T) {
	for name, want := range map[string]string{
		"tcp-metaprotocol-orders": "orders true", "tcp-metaprotocol-orders-v2": "orders true", "tcp-metaprotocol": "metaprotocol false", "tcp-metaprotocol-": " false",
		"tcp-orders": "orders false", "Orders-2": "orders false", "http-orders": " false", "tcp": " false", "tcp-redis": " false", "tcp-dubbo": "dubbo false", "": " false", "9p": " false",
	} {
		app, said := document.AppOf(name)
		if got := fmt.Sprint(app, " ", said); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// A front end that takes anything, to look at what documents become.
func decode(text string) []document.Result {
	any := document.FrontEnd{
		Kind: "Thing", Group: "example.com", Versions: []string{"v1"},
		Shape: document.Spec(&document.Shape{Type: document.Any}),
		Convert: func(d *document.Document) []model.Object {
			return []model.Object{&model.Namespace{Meta: d.Meta}}
		},
	}
	return document.NewDecoder([]document.FrontEnd{any}, nil).Decode([]byte(text), document.Input{File: "f.yaml"})
}

func thing(name string) string {
	return "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: " + name + "}\nspec:\n  text: |\n    ---not a separator\n    --- \n"
}

func TestSplit(t *testing.T) {
	text := "# only a comment\n---\n" + thing("a") + "--- # next\n\n" + thing("b") + "---\n---\n# nothing\n...\n---\r\n" +
		strings.ReplaceAll(thing("c"), "\n", "\r\n") + "--- {apiVersion: example.com/v1, kind: Thing, metadata: {name: d}}\n"
	var got []string
	for _, r := range decode("\xef\xbb\xbf" + text) {
		if r.Bad {
			t.Errorf("%v is bad: %v", r.Key, r.Findings)
		}
		got = append(got, r.Key.String(), strings.Repeat("x", r.Line))
	}
	line := func(n int) string { return strings.Repeat("x", n) }
	want := []string{
		"Thing/default/a", line(3), "Thing/default/b", line(12), "Thing/default/c", line(24), "Thing/default/d", line(31),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want, +got):\n%s", d)
	}
}

func TestHash(t *testing.T) {
	of := func(text string) uint64 { return decode(text)[0].Objects[0].Head().Hash }
	base := of("apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {x: y}}\nspec: {a: 1, b: [x]}\n")
	for name, text := range map[string]string{
		"comments and order":  "# hello\nkind: Thing\napiVersion: example.com/v1\nspec:\n  b:\n  - x\n  a: 1\nmetadata:\n  labels: {x: y}\n  name: a\n",
		"status":              "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {x: y}, resourceVersion: \"5\"}\nspec: {a: 1, b: [x]}\nstatus: {z: 1}\n",
		"namespace spelt out": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, namespace: default, labels: {x: y}}\nspec: {a: 1, b: [x]}\n",
	} {
		if of(text) != base {
			t.Errorf("%s make a difference", name)
		}
	}
	for name, text := range map[string]string{
		"a value": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {x: y}}\nspec: {a: 2, b: [x]}\n",
		"a label": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {x: z}}\nspec: {a: 1, b: [x]}\n",
		"a type":  "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {x: y}}\nspec: {a: \"1\", b: [x]}\n",
	} {
		if of(text) == base {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// An alias bomb ends with one Finding, soon.
func TestAliasBomb(t *testing.T) {
	text := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		prev := string(c - 1)
		text += "  " + string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+",", 10), ",") + "]\n"
	}
	r := decode(text)[0]
	if !r.Bad || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Message, "too many values") {
		t.Errorf("got %v", r.Findings)
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	text := "apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: a\n"
	for range 100 {
		text += "  unknown: 1\n"
	}
	if n := len(decode(text)[0].Findings); n != 41 {
		t.Errorf("got %d findings", n)
	}
}

// TestAgain: documents that are as they were, where they were, are not read again.
func TestAgain(t *testing.T) {
	n := 0
	thing := document.FrontEnd{
		Kind: "Thing", Group: "example.com", Versions: []string{"v1"}, Shape: document.Spec(&document.Shape{Type: document.Any}),
		Convert: func(d *document.Document) []model.Object {
			n++
			return []model.Object{&model.Namespace{Meta: d.Meta}}
		},
	}
	dec, in := document.NewDecoder([]document.FrontEnd{thing}, nil), document.Input{File: "f.yaml"}
	text := func(name, spec string) string {
		return "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
	}
	list := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: example.com/v1, kind: Thing, metadata: {name: in-list}, spec: {}}\n"
	before := dec.Decode([]byte(strings.Join([]string{text("a", "{x: 1}"), text("b", "{x: 1}"), list, text("c", "{x: 1}"), "kind: [\n"}, "---\n")), in)
	for name, c := range map[string]struct {
		docs []string
		read int // documents
		kept string
	}{
		"the same":              {[]string{text("a", "{x: 1}"), text("b", "{x: 1}"), list, text("c", "{x: 1}"), "kind: [\n"}, 1, "a b c"},
		"one is other":          {[]string{text("a", "{x: 1}"), text("b", "{x: 2}"), list, text("c", "{x: 1}"), "kind: [\n"}, 2, "a c"},
		"one has more lines":    {[]string{text("a", "{x: 1}"), text("b", "{x: 1}\n# one"), list, text("c", "{x: 1}"), "kind: [\n"}, 3, "a"},
		"one is gone, the last": {[]string{text("a", "{x: 1}"), text("b", "{x: 1}")}, 0, "a b"},
		"one is added in front": {[]string{text("z", "{x: 1}"), text("a", "{x: 1}")}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n = 0
			data := []byte(strings.Join(c.docs, "---\n"))
			got := dec.Again(data, in, before)
			if n != c.read {
				t.Errorf("%d documents were read, want %d", n, c.read)
			}
			var kept []string
			want := dec.Decode(data, in)
			for i, r := range got {
				for _, old := range before {
					if len(r.Objects) > 0 && len(old.Objects) > 0 && r.Objects[0] == old.Objects[0] {
						kept = append(kept, r.Key.Name)
					}
				}
				if len(r.Text) > 0 && r.Key.Name != "in-list" && &r.Text[0] != &data[bytes.Index(data, r.Text)] {
					t.Errorf("%s: its text is a part of the old one", r.Key.Name)
				}
				if r.Key != want[i].Key || r.Line != want[i].Line || !cmp.Equal(r.Findings, want[i].Findings) {
					t.Errorf("document %d is %v, want %v", i, r, want[i])
				}
			}
			if strings.Join(kept, " ") != c.kept {
				t.Errorf("kept: %v, want %s", kept, c.kept)
			}
		})
	}
}
