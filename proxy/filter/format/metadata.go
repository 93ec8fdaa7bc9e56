package format

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// metadata compiles DYNAMIC_METADATA(namespace:key*) and METADATA(DYNAMIC:namespace:key*).
func (c command) metadata() (value, error) {
	find, err := c.metadataKeys()
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		v, ok := find(i)
		if !ok {
			return dst, false
		}
		return appendAny(dst, v)
	}, nil
}

func (c command) metadataKeys() (func(*filter.Info) (any, bool), error) {
	keys := strings.Split(c.args, ":")
	if c.name == "METADATA" {
		if keys[0] != "DYNAMIC" {
			return nil, fmt.Errorf("format command %%METADATA(%s)%%: metadata of the kind %q is not supported, only DYNAMIC", c.args, keys[0])
		}
		keys = keys[1:]
	}
	if len(keys) == 0 || keys[0] == "" {
		return nil, fmt.Errorf("format command %%%s%% needs a namespace", c.name)
	}
	return func(i *filter.Info) (any, bool) {
		v, ok := i.Metadata[keys[0]]
		for _, k := range keys[1:] {
			m, isMap := v.(map[string]any)
			if !ok || !isMap {
				return nil, false
			}
			v, ok = m[k]
		}
		return v, ok && v != nil
	}, nil
}

// appendAny appends a value as text: objects and lists as JSON.
func appendAny(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		return append(dst, v...), true
	case bool:
		return strconv.AppendBool(dst, v), true
	case int:
		return strconv.AppendInt(dst, int64(v), 10), true
	case int64:
		return strconv.AppendInt(dst, v, 10), true
	case uint64:
		return strconv.AppendUint(dst, v, 10), true
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64), true
	}
	return appendJSON(dst, v)
}

func appendJSON(dst []byte, v any) ([]byte, bool) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, false // a filter's own type, which has no form as text
	}
	return append(dst, b...), true
}

// json returns what appends the command as JSON, nil: as a string.
func (c command) json(get value) value {
	switch c.name {
	case "RESPONSE_CODE", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_REQUEST_ATTEMPT_COUNT", "CONNECTION_ID", "DURATION",
		"REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_DURATION", "RESPONSE_TX_DURATION", "GRPC_STATUS_NUMBER",
		"UPSTREAM_REMOTE_PORT", "UPSTREAM_LOCAL_PORT", "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_LOCAL_PORT",
		"DOWNSTREAM_DIRECT_REMOTE_PORT", "DOWNSTREAM_DIRECT_LOCAL_PORT",
		"REQUEST_HEADERS_BYTES", "RESPONSE_HEADERS_BYTES", "RESPONSE_TRAILERS_BYTES", "COMMON_DURATION":
		return get
	case "DYNAMIC_METADATA", "METADATA":
		find, err := c.metadataKeys()
		if err != nil {
			return nil // compile has said so
		}
		return func(dst []byte, i *filter.Info) ([]byte, bool) {
			v, ok := find(i)
			if !ok {
				return dst, false
			}
			return appendJSON(dst, v)
		}
	}
	return nil
}
