package match

import (
	"fmt"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/route"
)

// SupportedChanges lists the fields that Changes reads.
var SupportedChanges = strict.Table{
	"envoy.config.core.v3.HeaderValueOption": "header append append_action keep_empty_value",
	"envoy.config.core.v3.HeaderValue":       "key value raw_value",
}

// Changes reads and compiles a list of header operations.
func Changes(list []*corev3.HeaderValueOption) (*route.HeaderChanges, error) {
	var ops route.HeaderOps
	for i, o := range list {
		v := route.HeaderValue{Name: strings.ToLower(o.GetHeader().GetKey()), Value: Value(o.GetHeader()), KeepEmpty: o.KeepEmptyValue}
		switch a := Action(o); a {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			ops.Add = append(ops.Add, v)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			ops.Set = append(ops.Set, v)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			ops.SetIfPresent = append(ops.SetIfPresent, v)
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			ops.AddIfAbsent = append(ops.AddIfAbsent, v)
		default:
			return nil, fmt.Errorf("[%d].append_action: %v is not supported", i, a)
		}
	}
	host, _ := os.Hostname() // without a name the command is empty
	return route.NewHeaderChanges(ops, format.Options{Hostname: host, Env: os.Getenv})
}

// Action is what an option does, also when it says so by the older field "append".
func Action(o *corev3.HeaderValueOption) corev3.HeaderValueOption_HeaderAppendAction {
	if o.Append != nil && !o.Append.Value {
		return corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	return o.AppendAction
}

// Value is a header's value in whichever field it is.
func Value(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}
