package declared

import (
	"encoding/json"
	"os"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/protocol"
)

// made makes the protocol that YAML declares.
func made(t testing.TB, text string) *codec.Protocol {
	t.Helper()
	var d protocol.Declaration
	read(t, []byte(text), &d)
	p, err := New("test", &d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, text []byte, into any) {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shipped makes one of those that come with Weft.
func shipped(t testing.TB, name string) *codec.Protocol {
	t.Helper()
	raw, err := os.ReadFile("../../../control/source/aeraki/protocols/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Spec struct {
			Protocol string `json:"protocol"`
			protocol.Declaration
		} `json:"spec"`
	}
	read(t, raw, &doc)
	p, err := New(name, &doc.Spec.Declaration)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decoded reads a message.
func decoded(t testing.TB, p *codec.Protocol, from codec.Peer, raw []byte) codec.Message {
	t.Helper()
	m := codec.Message{Head: &filter.Headers{}}
	if err := p.New().Decode(raw, from, &m); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if m.Size != len(raw) {
		t.Fatalf("%q has %d bytes and was read as %d", raw, len(raw), m.Size)
	}
	return m
}

// Declarations for tests.
const (
	ordersYAML = `
framing: {magic: OR, header: 16, length: {offset: 4, size: 4}}
type: {offset: 2, size: 1, values: {request: [1], response: [2], error: [6], oneWay: [3], heartbeat: [4], heartbeatReply: [5]}}
id: {offset: 8, size: 4}
parts:
- {name: head, length: {offset: 12, size: 4}, format: lines}
- {name: body}
method: [{part: head, key: op}]
fields: [{part: head, all: true}, {name: flag, offset: 3, size: 1, mask: 0x0f}]
status: {part: head, key: status, http: {busy: 503}, codes: {404: unknown, default: broken}}
text: {part: body}
`
	rpcYAML = `
framing: {delimiter: "\n"}
parts: [{name: doc, format: json}]
id: {part: doc, path: id}
method: [{part: doc, path: method}]
fields:
- {name: user, part: doc, path: params.user}
- {name: second, part: doc, path: params.list.1}
- {part: doc, path: meta, all: true}
status: {part: doc, path: error.code, codes: {404: -32601, default: -32000}}
text: {part: doc, path: error.message}
`
	boltYAML = `
framing: {header: 8, length: {offset: 0, size: 4, endian: little, adjustment: 4}}
id: {offset: 4, size: 4, endian: little}
parts: [{name: head, prefix: {size: 2, endian: little}, format: pairs, keySize: 4, valueSize: 4}, {name: body}]
service: [{part: head, key: service}]
fields: [{part: head, all: true}]
`
	tlvYAML = `
framing: {header: 4, length: {offset: 0, size: 4, text: true}}
order: inOrder
parts: [{name: tags, format: tlv, keySize: 1, valueSize: 1}]
type: {part: tags, tag: 1, size: 1, values: {request: [1], response: [2]}}
method: [{part: tags, tag: 2}]
fields: [{name: user, part: tags, tag: 3}, {name: size, part: tags, tag: 4, size: 2}]
status: {part: tags, tag: 9, size: 1, codes: {default: 7}}
`
	fixedYAML = `
framing: {fixed: 24, header: 4}
type: {offset: 0, size: 1, text: true, values: {request: [Q], response: [A], error: [E]}}
parts: [{name: rest}]
method: [{part: rest, offset: 0, size: 8, text: true}]
fields: [{name: price, part: rest, offset: 8, size: 6, text: true}]
`
	wordsYAML = `
framing: {delimiter: "\r\n"}
parts: [{name: line, format: words}]
method: [{part: line, index: 0}]
fields: [{name: key, part: line, index: 1}]
`
)
