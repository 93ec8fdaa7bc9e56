package transcode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftmesh/weft/proxy/filter"
)

// answer makes JSON of a response's frames.
type answer struct {
	rule     *rule
	config   *config
	streamed bool   // many messages
	raw      bool   // they are bytes of any kind
	frames   []byte // the beginning of one
	sent     int
	out      []byte // what is held of a response of one message
	head     *filter.Headers
}

const jsonType = "application/json"

func (a *answer) begin(x *instance, h *filter.Headers, end bool) {
	a.rule, a.config, a.head = x.build.rule, x.config, h
	a.streamed = a.rule.method.IsStreamingServer()
	a.raw = a.body() == httpBody
	h.Del("content-length")
	if end { // an error, which has no body
		return
	}
	kind := jsonType
	if a.streamed && a.config.sse {
		kind = "text/event-stream"
	}
	h.Set("content-type", kind)
}

// body is the type of what becomes the response's body.
func (a *answer) body() protoreflect.FullName {
	d := a.rule.method.Output()
	if f := a.rule.answer; f != nil {
		if d = f.Message(); d == nil || f.IsList() || f.IsMap() {
			return ""
		}
	}
	return d.FullName()
}

var errCompressed = errors.New("the response is compressed or no gRPC")

// feed takes in a piece of frames, and returns what the client gets of it.
func (a *answer) feed(b []byte) (out []byte, err error) {
	a.frames = append(a.frames, b...)
	for rest := a.frames; ; {
		if len(rest) < frameHead {
			a.frames = append(a.frames[:0], rest...)
			return out, nil
		}
		n := int64(binary.BigEndian.Uint32(rest[1:]))
		if rest[0] != 0 {
			return nil, errCompressed
		}
		if n > int64(a.config.maxResponse) {
			return nil, errTooLarge
		}
		if int64(len(rest)) < frameHead+n {
			a.frames = append(a.frames[:0], rest...)
			return out, nil
		}
		if out, err = a.message(out, rest[frameHead:frameHead+n]); err != nil {
			return nil, err
		}
		rest = rest[frameHead+n:]
	}
}

// message appends one message.
func (a *answer) message(out, wire []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(a.rule.method.Output())
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: a.config.methods.types}).Unmarshal(wire, m); err != nil {
		return nil, fmt.Errorf("the response is no %s", m.Descriptor().FullName())
	}
	a.sent++
	if a.raw {
		return a.bytes(out, m), nil
	}
	text, err := a.json(m)
	if err != nil {
		return nil, err
	}
	return a.delimit(out, text), nil
}

// bytes appends the body that a google.api.HttpBody is.
func (a *answer) bytes(out []byte, m protoreflect.Message) []byte {
	if a.rule.answer != nil {
		m = m.Get(a.rule.answer).Message()
	}
	fields := m.Descriptor().Fields()
	if kind := m.Get(fields.ByName("content_type")).String(); kind != "" && a.sent == 1 {
		a.head.Set("content-type", kind)
	}
	return append(out, m.Get(fields.ByName("data")).Bytes()...)
}

// json writes a message as the print options have it.
func (a *answer) json(m *dynamicpb.Message) ([]byte, error) {
	c := a.config
	text, err := c.print.Marshal(m)
	if err != nil {
		return nil, err
	}
	if f := a.rule.answer; f != nil {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, err
		}
		name := f.JSONName()
		if c.print.UseProtoNames {
			name = string(f.Name())
		}
		if text = fields[name]; text == nil {
			text = []byte(empty(f))
		}
	}
	var b bytes.Buffer // protojson means its spaces to differ
	if c.indent {
		err = json.Indent(&b, text, "", " ")
		b.WriteByte('\n')
	} else {
		err = json.Compact(&b, text)
	}
	return unmarked(b.Bytes()), err
}

// unmarked is JSON without the characters that begin and end the tags of HTML.
func unmarked(text []byte) []byte {
	if bytes.ContainsAny(text, "<>") {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("<"), []byte(`\u003c`)), []byte(">"), []byte(`\u003e`))
	}
	return text
}

// empty is a field that a message does not have.
func empty(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsList():
		return "[]"
	case f.IsMap(), f.Message() != nil:
		return "{}"
	case f.Kind() == protoreflect.StringKind, f.Kind() == protoreflect.BytesKind:
		return `""`
	case f.Kind() == protoreflect.BoolKind:
		return "false"
	}
	return "0"
}

// delimit appends one message of a stream.
func (a *answer) delimit(out, text []byte) []byte {
	switch {
	case !a.streamed:
		return append(out, text...)
	case a.config.sse:
		return fmt.Appendf(out, "data: %s\n\n", text)
	case a.config.lines:
		return fmt.Appendf(out, "%s\n", text)
	case a.sent == 1:
		return fmt.Appendf(out, "[%s", text)
	}
	return fmt.Appendf(out, ",%s", text)
}

// close ends a stream.
func (a *answer) close() []byte {
	if a.raw || a.config.sse || a.config.lines {
		return nil
	}
	if a.sent == 0 {
		return []byte("[]")
	}
	return []byte("]")
}

// status puts the outcome of the call, which t tells, into the response's head. The body that
// it has in JSON is nil where that is not asked for.
func (a *answer) status(h, t *filter.Headers, x *instance) []byte {
	text, said := t.Lookup("grpc-status")
	code, err := strconv.Atoi(text)
	switch {
	case !said || err != nil:
		h.Status = 503
	case code == 0 && !a.streamed && a.sent == 0 && h != t:
		h.Status = 200
	default:
		h.Status = filter.HTTPOfGRPC(code)
	}
	var body []byte
	if said && code != 0 && x.config.convert {
		body = a.details(t, code)
		h.Set("content-type", jsonType)
		h.Del("grpc-status")
		h.Del("grpc-message")
		h.Del("grpc-status-details-bin")
	} else if h != t && said {
		h.Set("grpc-status", text)
		if m := t.Get("grpc-message"); m != "" {
			h.Set("grpc-message", m)
		}
	}
	if n := len(body); body != nil || h != t {
		if body == nil {
			n = len(a.out)
		}
		h.Set("content-length", strconv.Itoa(n))
	}
	return body
}

// details is google.rpc.Status in JSON.
func (a *answer) details(t *filter.Headers, code int) []byte {
	st := &spb.Status{}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(t.Get("grpc-status-details-bin"), "="))
	if err != nil || len(raw) == 0 || proto.Unmarshal(raw, st) != nil {
		st = &spb.Status{Code: int32(code), Message: unescape(t.Get("grpc-message"), "")} //nolint:gosec // of 17
	}
	text, err := protojson.MarshalOptions{Resolver: a.config.methods.types}.Marshal(st)
	if err != nil { // a detail that the description does not know
		st.Details = nil
		text, _ = protojson.Marshal(st)
	}
	var b bytes.Buffer
	_ = json.Compact(&b, text)
	return unmarked(b.Bytes())
}
