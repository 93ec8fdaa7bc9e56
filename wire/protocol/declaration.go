// Package protocol is how a protocol of messages is declared: where its messages end, and where in them lies what the
// proxy and the rules of the mesh have to know. One text serves an ApplicationProtocol, which says it in YAML, and the
// filter weft.wire.v1.MessageProxy, in which it goes to proxies.
//
// The package has the types and checks them, so that both planes judge alike; proxy/codec/declared carries them out.
package protocol

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Declaration says how the messages of a protocol are made.
type Declaration struct {
	Framing Framing `json:"framing"`
	// Parts follow the header, one behind another.
	Parts []Part `json:"parts,omitempty"`
	// Type tells what a message is for; without it, what clients send are requests, what servers send answers.
	Type *Type `json:"type,omitempty"`
	// Refine makes messages of one kind others, by a second look: the first that is true counts.
	Refine []Refinement `json:"refine,omitempty"`
	// ID is the number by which an answer finds its request. With one of at least four bytes (or ten digits) connections to
	// servers are shared by all clients, for whom the proxy writes numbers of its own.
	ID *Place `json:"id,omitempty"`
	// Order of answers where they have no such number: oneByOne (default), or inOrder: several requests may be
	// under way, whose answers come in their order.
	Order string `json:"order,omitempty"`
	// Service and Method name what is asked for; the first place that has something counts.
	Service []Place `json:"service,omitempty"`
	Method  []Place `json:"method,omitempty"`
	// Fields are what rules may look at, and change.
	Fields []Field `json:"fields,omitempty"`
	// Status says how an answer went.
	Status *Status `json:"status,omitempty"`
	// Text is where the proxy writes what is wrong when it answers itself.
	Text *Place `json:"text,omitempty"`
	// Stream is for protocols with streams.
	Stream *Stream `json:"stream,omitempty"`
}

// Framing says where messages end: by Length, Delimiter or Fixed.
type Framing struct {
	// Magic is what every message begins with: text, or "0x" and hexadecimal digits.
	Magic string `json:"magic,omitempty"`
	// Header is how many bytes stand before the first part.
	Header int `json:"header,omitempty"`
	// Length has the size of a message: its value and adjustment are the whole message's bytes.
	Length *Number `json:"length,omitempty"`
	// Delimiter ends each message: text, or "0x" and hexadecimal digits.
	Delimiter string `json:"delimiter,omitempty"`
	// Fixed is the size of every message, in bytes.
	Fixed int `json:"fixed,omitempty"`
	// MaxBytes bounds a message; default: 8 MiB.
	MaxBytes int `json:"maxBytes,omitempty"`
}

// Number is a length in a message. Of a part's it is what value and adjustment make.
type Number struct {
	// Offset is from the message's beginning, within the header.
	Offset int `json:"offset,omitempty"`
	// Size is 1 to 8 bytes; of text up to 20.
	Size int `json:"size"`
	// Endian is big (default) or little.
	Endian string `json:"endian,omitempty"`
	// Text: it is written in decimal digits.
	Text       bool `json:"text,omitempty"`
	Adjustment int  `json:"adjustment,omitempty"`
}

// Formats of parts.
const (
	// Lines are "name=value", one a line.
	Lines = "lines"
	// Pairs are names and values, a length before each.
	Pairs = "pairs"
	// TLV are values behind a tag and a length.
	TLV      = "tlv"
	Protobuf = "protobuf"
	JSON     = "json"
	// Words stand between separators.
	Words = "words"
)

// Part is a stretch of a message.
type Part struct {
	Name string `json:"name"`
	// Length is in the header, Prefix right before the part; without either, the part is the rest.
	Length *Number `json:"length,omitempty"`
	Prefix *Number `json:"prefix,omitempty"`
	// Format is one of the formats; empty: bytes.
	Format string `json:"format,omitempty"`
	// Separator ends a line (default: a line feed) or stands between words (a space), Assign (=) between name and value.
	Separator string `json:"separator,omitempty"`
	Assign    string `json:"assign,omitempty"`
	// KeySize are the bytes of a name's length (pairs, default 2) or of a tag (tlv, 1), ValueSize those of a value's length (2).
	KeySize   int    `json:"keySize,omitempty"`
	ValueSize int    `json:"valueSize,omitempty"`
	Endian    string `json:"endian,omitempty"`
}

// Place is where something lies: at an offset; or in a part, which is all of it, or an entry, a tag, a path, a word.
type Place struct {
	// Part is a part's name; empty: the message.
	Part string `json:"part,omitempty"`
	// Offset and Size: from the part's beginning, or the message's. A number, unless Text.
	Offset *int   `json:"offset,omitempty"`
	Size   int    `json:"size,omitempty"`
	Endian string `json:"endian,omitempty"`
	Text   bool   `json:"text,omitempty"`
	// Mask are the bits of the number that count; 0: all.
	Mask int `json:"mask,omitempty"`
	// Key is an entry's name (lines, pairs).
	Key string `json:"key,omitempty"`
	// Tag is that of an entry of tlv.
	Tag *int `json:"tag,omitempty"`
	// Path are numbers of fields in protobuf ("1.2"), names in JSON ("meta.method"; numbers for elements of lists).
	Path string `json:"path,omitempty"`
	// Index is a word's; the first is 0.
	Index *int `json:"index,omitempty"`
	// Of, of a service, method or field, says in which messages it is: requests, answers or streams (their first
	// message); default: requests and answers.
	Of string `json:"of,omitempty"`
}

// Field is something that rules see under a name.
type Field struct {
	// Name in lower case.
	Name  string `json:"name,omitempty"`
	Place `json:",inline"`
	// All entries of the part (lines, pairs), of the map at Path (protobuf) or of the object at Path (JSON) are fields
	// under their own names. What rules add goes there.
	All bool `json:"all,omitempty"`
}

// Kinds of messages, as Type and Refinement name them.
var Kinds = []string{"request", "response", "error", "oneWay", "heartbeat", "heartbeatReply", "goAway", "streamOpen", "streamData", "streamEnd", "streamReset"}

// Type tells kinds of messages apart by a number or a word.
type Type struct {
	Place `json:",inline"`
	// Values are those of each kind: {request: [1], response: [2]}. "error" is an answer that went wrong. What has
	// none of them is of the kind that it would have without a Type.
	Values map[string][]Value `json:"values"`
}

// Refinement makes a request a oneWay or heartbeat, an answer an error or heartbeatReply, a streamEnd a streamReset.
type Refinement struct {
	Kind  string `json:"kind"`
	Place `json:",inline"`
	// Is are the values for which it is true.
	Is []Value `json:"is"`
}

// Status says how an answer went.
type Status struct {
	Place `json:",inline"`
	// OK are the values of answers that went well; default: 0, and none at all.
	OK []Value `json:"ok,omitempty"`
	// HTTP says which of HTTP's statuses others are like: {"11": 404}; default: 500.
	HTTP map[string]int `json:"http,omitempty"`
	// Codes are what the proxy's own answers have, by HTTP's status or "default": {"404": "11", default: "21"}.
	Codes map[string]Value `json:"codes,omitempty"`
}

// Stream has the places that are others for the messages of streams.
type Stream struct {
	ID *Place `json:"id"`
	// Status and Text are of a streamEnd or streamReset by which the proxy refuses one.
	Status *Place `json:"status,omitempty"`
	Text   *Place `json:"text,omitempty"`
}

// Value is what may lie at a place: a number in decimal digits, or text. In JSON it may be written either way.
type Value string

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(raw []byte) error {
	var x any
	if err := json.Unmarshal(raw, &x); err != nil {
		return err
	}
	switch x := x.(type) {
	case string:
		*v = Value(x)
	case bool:
		*v = Value(strconv.FormatBool(x))
	case float64:
		*v = Value(strconv.FormatFloat(x, 'f', -1, 64))
	default:
		return fmt.Errorf("%s is neither a number nor a word", raw)
	}
	return nil
}
