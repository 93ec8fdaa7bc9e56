package extauthz

import (
	"encoding/json"

	"github.com/weftmesh/weft/proxy/filter"
)

// shadow is a decision that was not carried out, in filter state under the
// filter's name and ".shadow".
type shadow struct {
	result string
	status int
	header []filter.Field
}

// leave puts a decision into filter state.
func (x *instance) leave(s filter.Stream, d *decision) {
	o := &shadow{"OK", 200, nil}
	switch d.kind {
	case denied:
		o = &shadow{"DENIED", d.status, d.shown}
		if d.shown == nil {
			o.header = d.reply
		}
	case failed:
		o = &shadow{"ERROR", x.cfg.errorStatus, nil}
		if d.status > 0 {
			o.status = d.status
		}
	}
	s.Info().SetObject(filter.Shared{Key: x.cfg.name + ".shadow", Value: o})
}

// keys of a decision's fields as text; JSON in camel case is what logs write of objects.
type keys struct{ result, status, header string }

// AppendJSON is how access logs write it.
func (o *shadow) AppendJSON(dst []byte) []byte {
	return o.write(dst, keys{"checkResult", "statusCode", "responseHeaders"})
}

// String is the plain form, which has the fields' own names.
func (o *shadow) String() string {
	return string(o.write(nil, keys{"check_result", "status_code", "response_headers"}))
}

func (o *shadow) write(dst []byte, k keys) []byte {
	type field struct {
		Key   string `json:"key"`
		Value string `json:"value,omitempty"`
	}
	pair := func(key string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			panic("BUG: " + err.Error()) // texts and numbers only
		}
		dst = append(append(append(dst, '"'), key...), `":`...)
		dst = append(dst, b...)
	}
	dst = append(dst, '{')
	pair(k.result, o.result)
	dst = append(dst, ',')
	pair(k.status, o.status)
	if len(o.header) > 0 {
		list := make([]field, 0, len(o.header))
		for _, f := range o.header {
			list = append(list, field{f.Name, f.Value})
		}
		dst = append(dst, ',')
		pair(k.header, list)
	}
	return append(dst, '}')
}
