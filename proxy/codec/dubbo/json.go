package dubbo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// Generic calls: the method that providers of any Dubbo answer with maps in place of objects
// (GenericService.$invoke).
const (
	genericMethod = "$invoke"
	genericAsync  = "$invokeAsync"
	genericTypes  = "Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object;"
)

// converter makes generic calls of HTTP requests. It implements codec.JSON.
//
// POST /SERVICE/METHOD?version=V&group=G calls the method. The body is the array of its arguments, or an object
// with "args" and, where methods of a name differ by them, "types" ("java.lang.String"); any other value is the
// one argument; no body: none. Header fields "dubbo-NAME" become attachments.
type converter struct{}

// prefix of header fields that become attachments.
const prefix = "dubbo-"

// Request implements codec.JSON.
func (converter) Request(h *filter.Headers, body []byte) ([]byte, codec.Answered, error) {
	path, query, _ := strings.Cut(h.Path, "?")
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || service == "" || method == "" || strings.Contains(method, "/") {
		return nil, nil, fmt.Errorf("path %q: want /SERVICE/METHOD", path)
	}
	if !utf8.ValidString(path) { // Hessian has characters, and no bytes, in its strings
		return nil, nil, fmt.Errorf("path %q: is not UTF-8", path)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, nil, fmt.Errorf("query: %w", err)
	}
	types, args, err := bodyOf(body)
	if err != nil {
		return nil, nil, err
	}
	version := q.Get("version")
	if version == "" {
		version = "0.0.0"
	} else if !utf8.ValidString(version) {
		return nil, nil, fmt.Errorf("version %q: is not UTF-8", version)
	}
	b := appendStr(nil, "2.0.2")
	for _, s := range []string{service, version, genericMethod, genericTypes, method} {
		b = appendStr(b, s)
	}
	b = append(append(b, types...), args...)
	b = append(b, 'H')
	attachments := [][2]string{{"path", service}, {"interface", service}, {"version", version}, {"group", q.Get("group")}, {"generic", "true"}}
	for i := range h.Len() {
		if f := h.At(i); strings.HasPrefix(f.Name, prefix) {
			attachments = append(attachments, [2]string{strings.TrimPrefix(f.Name, prefix), f.Value})
		}
	}
	for _, a := range attachments {
		if !utf8.ValidString(a[1]) {
			return nil, nil, fmt.Errorf("%s %q: is not UTF-8", a[0], a[1])
		}
		if a[1] != "" {
			b = appendStr(appendStr(b, a[0]), a[1])
		}
	}
	return frame(nil, flagRequest|flagTwoWay|hessian2, 0, 0, append(b, 'Z')), response, nil
}

// bodyOf are the types, null where they are not said, and the arguments.
func bodyOf(body []byte) (types, args []byte, err error) {
	types = []byte{'N'}
	body = bytes.TrimSpace(body)
	var named struct {
		Types *[]string       `json:"types"`
		Args  json.RawMessage `json:"args"`
	}
	switch {
	case len(body) == 0:
		return types, []byte{0x78}, nil
	case body[0] == '{' && strictly(body, &named) && named.Args != nil:
		if body = named.Args; named.Types != nil {
			types = append(appendStr([]byte{'V'}, "[string"), appendInt(nil, len(*named.Types))...)
			for _, t := range *named.Types {
				types = appendStr(types, t)
			}
		}
	}
	if body[0] != '[' {
		body = append(append([]byte{'['}, body...), ']')
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if args, err = appendJSON(nil, d); err == nil && d.More() {
		err = errors.New("there is more behind it")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("body: %w", err)
	}
	return types, args, nil
}

// strictly tells whether an object has no other fields than v.
func strictly(body []byte, v any) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(v) == nil
}

// response is a codec.Answered: the result, or {"error": TEXT} for an exception (500) and for what the protocol
// itself reports.
func response(message []byte) (status int, body []byte, err error) {
	if len(message) < headLen {
		return 0, nil, errShort
	}
	if message[2]&serialMask != hessian2 {
		return 0, nil, errors.New("the answer is not Hessian 2")
	}
	p := &printer{reader: reader{b: message[headLen:]}}
	if status = statusOf(message[3]); status != 200 {
		p.out = append(p.out, `{"error":`...)
		p.value()
		p.out = append(p.out, '}')
		return status, p.out, p.bad
	}
	switch p.integer() {
	case withException, withExceptionAndAttachments:
		status = 500
		p.out = append(p.out, `{"error":`...)
		p.value()
		p.out = append(p.out, '}')
	case withValue, withValueAndAttachments:
		p.value()
	default:
		p.out = append(p.out, "null"...)
	}
	return status, p.out, p.bad
}
