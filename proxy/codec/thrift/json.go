package thrift

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/thriftidl"
)

// converter makes calls of HTTP requests, by an IDL. It implements codec.JSON.
//
// POST /SERVICE/METHOD calls the method. The body is an object with the arguments by their names; without one
// the query's parameters are the arguments. Where the transport is THeader, header fields "thrift-NAME" become its headers.
type converter struct {
	mapping *thriftidl.Mapping
	file    *thriftidl.File
	layout
}

// prefix of header fields that become headers of THeader.
const prefix = "thrift-"

// declare makes the converter of a mapping, a thriftidl.Mapping in JSON.
func declare(mapping []byte) (codec.JSON, error) {
	m, f, err := thriftidl.Read(mapping)
	if err != nil {
		return nil, err
	}
	c := &converter{mapping: m, file: f, layout: layout{transport: framed}}
	switch m.Transport {
	case "unframed":
		c.transport = unframed
	case "header":
		c.transport = header
	}
	if m.Protocol == "compact" {
		c.protocol = compactProtocol
	}
	return c, nil
}

// Request implements codec.JSON.
func (c *converter) Request(h *filter.Headers, body []byte) ([]byte, codec.Answered, error) {
	path, query, _ := strings.Cut(h.Path, "?")
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok {
		return nil, nil, fmt.Errorf("path %s: want /SERVICE/METHOD", path)
	}
	s := c.file.Services[service]
	if s == nil || s.Methods[name] == nil {
		return nil, nil, fmt.Errorf("path %s: there is no such service and method in the IDL", path)
	}
	m := s.Methods[name]
	args, err := arguments(query, body)
	if err != nil {
		return nil, nil, err
	}
	if c.mapping.Multiplexed {
		name = service + ":" + name
	}
	w := &writer{compact: c.protocol == compactProtocol}
	w.head(name, m.OneWay)
	if w.structure(m.Args, args, 0); w.err != nil {
		return nil, nil, fmt.Errorf("body: %w", w.err)
	}
	answered := func(message []byte) (int, []byte, error) { return c.response(m, message) }
	switch c.transport {
	case framed:
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(w.out))), w.out...), answered, nil //nolint:gosec // a body is bounded
	case header:
		info, err := infoOf(h)
		if err != nil {
			return nil, nil, err
		}
		return append(c.appendHeader(nil, info, len(w.out)), w.out...), answered, nil
	}
	return w.out, answered, nil
}

// arguments are those of a body, or else of a query.
func arguments(query string, body []byte) (map[string]any, error) {
	args := map[string]any{}
	if len(bytes.TrimSpace(body)) == 0 {
		q, err := url.ParseQuery(query)
		if err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		for k, v := range q {
			args[k] = v[0]
		}
		return args, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&args); err != nil {
		return nil, fmt.Errorf("body: want an object with the arguments by their names: %w", err)
	}
	if d.More() {
		return nil, errors.New("body: there is more behind it")
	}
	return args, nil
}

// infoOf are the pairs of a THeader.
func infoOf(h *filter.Headers) ([]byte, error) {
	var list []byte
	n := uint64(0)
	for i := range h.Len() {
		if f := h.At(i); strings.HasPrefix(f.Name, prefix) {
			for _, text := range []string{strings.TrimPrefix(f.Name, prefix), f.Value} {
				list = append(binary.AppendUvarint(list, uint64(len(text))), text...)
			}
			n++
		}
	}
	if n == 0 {
		return nil, nil
	}
	if len(list) > maxInfo-16 {
		return nil, errors.New("more headers than THeader can hold")
	}
	return append(binary.AppendUvarint([]byte{1}, n), list...), nil
}

// response is the result; {"error": …, "exception": NAME} for an exception that the method declares, and
// {"error": TEXT} for one of Thrift's own.
func (c *converter) response(m *thriftidl.Method, message []byte) (status int, body []byte, err error) {
	var l layout
	if err := l.read(message, &walk{}); err != nil {
		return 0, nil, err
	}
	if l.size != len(message) || l.payload >= l.size {
		return 0, nil, errors.New("the answer cannot be read: it is cut short, or its payload is transformed")
	}
	p := &printer{reader: reader{b: message, i: l.args, compact: l.protocol == compactProtocol}}
	if l.typ == typeException {
		p.out = append(p.out, `{"error":`...)
		p.text(p.message())
		p.out = append(p.out, '}')
		return l.status(message), p.out, nil
	}
	return c.result(m, p)
}

// result prints the one field of a result.
func (c *converter) result(m *thriftidl.Method, p *printer) (status int, body []byte, err error) {
	var last int16
	for !p.bad {
		typ, id := p.field(last)
		if typ == 0 {
			break
		}
		last = id
		if id == 0 && m.Result != nil && p.fits(typ, m.Result) {
			p.value(m.Result, typ, true, 0)
			return 200, p.out, p.failed()
		}
		for i := range m.Throws {
			f := &m.Throws[i]
			if f.ID != id || !p.fits(typ, f.Type) {
				continue
			}
			p.out = append(p.out, `{"error":`...)
			p.value(f.Type, typ, true, 0)
			p.out = append(p.out, `,"exception":`...)
			p.text([]byte(f.Type.Struct.Name))
			p.out = append(p.out, '}')
			if status = 500; c.mapping.ExceptionStatus[f.Type.Struct.Name] != 0 {
				status = int(c.mapping.ExceptionStatus[f.Type.Struct.Name])
			}
			return status, p.out, p.failed()
		}
		p.skip(typ)
	}
	if err := p.failed(); err != nil {
		return 0, nil, err
	}
	if m.Result != nil {
		return 0, nil, errors.New("it has neither a result nor an exception that the IDL knows")
	}
	return 200, []byte("null"), nil
}
