package nacos

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// payload is the one message of Nacos' gRPC API: a type, headers, and a body in JSON.
type payload struct {
	kind    string
	headers map[string]string
	body    []byte
}

// Fields of the protobuf messages Payload, Metadata and google.protobuf.Any.
const (
	payloadMetadata, payloadBody = 2, 3
	metadataType, metadataHeader = 3, 7
	anyValue                     = 2
	entryKey, entryValue         = 1, 2
)

func pack(v any, headers map[string]string) (*payload, error) {
	body, err := json.Marshal(v)
	return &payload{kind: kindOf(v), headers: headers, body: body}, err
}

// codec writes and reads payloads for gRPC.
type codec struct{}

// Name implements encoding.Codec.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (codec) Marshal(v any) ([]byte, error) {
	p, ok := v.(*payload)
	if !ok {
		return nil, fmt.Errorf("BUG: a message of the type %T", v)
	}
	var meta []byte
	meta = field(meta, metadataType, []byte(p.kind))
	for k, h := range p.headers {
		meta = field(meta, metadataHeader, field(field(nil, entryKey, []byte(k)), entryValue, []byte(h)))
	}
	return field(field(nil, payloadMetadata, meta), payloadBody, field(nil, anyValue, p.body)), nil
}

func field(out []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(out, n, protowire.BytesType), v)
}

// Unmarshal implements encoding.Codec.
func (codec) Unmarshal(data []byte, v any) error {
	p, ok := v.(*payload)
	if !ok {
		return fmt.Errorf("BUG: a message of the type %T", v)
	}
	*p = payload{}
	return each(data, func(n protowire.Number, b []byte) error {
		return each(b, func(m protowire.Number, b []byte) error {
			switch {
			case n == payloadMetadata && m == metadataType:
				p.kind = string(b)
			case n == payloadBody && m == anyValue:
				p.body = append([]byte(nil), b...)
			}
			return nil
		})
	})
}

// each calls f with the fields of a message that are bytes.
func each(data []byte, f func(n protowire.Number, b []byte) error) error {
	for len(data) > 0 {
		n, typ, size := protowire.ConsumeTag(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if typ != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, typ, data); size < 0 {
				return protowire.ParseError(size)
			}
			data = data[size:]
			continue
		}
		b, size := protowire.ConsumeBytes(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if err := f(n, b); err != nil {
			return err
		}
	}
	return nil
}

// unpack reads the body of an answer, which may be an error.
func (p *payload) unpack(into any) error {
	var r struct {
		ResultCode int    `json:"resultCode"`
		ErrorCode  int    `json:"errorCode"`
		Message    string `json:"message"`
	}
	if err := json.Unmarshal(p.body, &r); err != nil {
		return fmt.Errorf("%s: %w", p.kind, err)
	}
	if r.ErrorCode == unregistered {
		return errUnregistered
	}
	if r.ResultCode != 0 && r.ResultCode != okCode {
		return fmt.Errorf("%s: %s (%d)", p.kind, r.Message, r.ErrorCode)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(p.body, into)
}

const (
	okCode       = 200
	unregistered = 301
)

var errUnregistered = errors.New("the connection is not registered yet")

// The requests and answers that are used.
type (
	serverCheckRequest     struct{}
	healthCheckRequest     struct{}
	connectionSetupRequest struct {
		ClientVersion string            `json:"clientVersion"`
		Tenant        string            `json:"tenant"`
		Labels        map[string]string `json:"labels"`
		Abilities     map[string]any    `json:"clientAbilities"`
	}
	serviceListRequest struct {
		Namespace string `json:"namespace"`
		GroupName string `json:"groupName"`
		Module    string `json:"module"`
		PageNo    int    `json:"pageNo"`
		PageSize  int    `json:"pageSize"`
	}
	serviceListResponse struct {
		Count        int      `json:"count"`
		ServiceNames []string `json:"serviceNames"`
	}
	subscribeServiceRequest struct {
		Namespace   string `json:"namespace"`
		ServiceName string `json:"serviceName"`
		GroupName   string `json:"groupName"`
		Module      string `json:"module"`
		Subscribe   bool   `json:"subscribe"`
	}
	subscribeServiceResponse struct {
		ServiceInfo serviceInfo `json:"serviceInfo"`
	}
	notifySubscriberRequest struct {
		RequestID   string      `json:"requestId"`
		ServiceInfo serviceInfo `json:"serviceInfo"`
	}
	// answer is what every request of the server is answered by.
	answer struct {
		ResultCode int    `json:"resultCode"`
		Success    bool   `json:"success"`
		RequestID  string `json:"requestId"`
		kind       string
	}
)

// kindOf is the name of Nacos' class.
func kindOf(v any) string {
	switch v := v.(type) {
	case serverCheckRequest:
		return "ServerCheckRequest"
	case healthCheckRequest:
		return "HealthCheckRequest"
	case connectionSetupRequest:
		return "ConnectionSetupRequest"
	case serviceListRequest:
		return "ServiceListRequest"
	case subscribeServiceRequest:
		return "SubscribeServiceRequest"
	case answer:
		return v.kind
	}
	panic(fmt.Sprintf("BUG: a request of the type %T", v))
}

// serviceInfo is a service as gRPC and HTTP have it.
type serviceInfo struct {
	Name      string `json:"name"` // over HTTP "GROUP@@NAME"
	GroupName string `json:"groupName"`
	Hosts     []host `json:"hosts"`
	// LastRefTime is when the server made this, in its milliseconds.
	LastRefTime int64 `json:"lastRefTime"`
}

type host struct {
	IP          string            `json:"ip"`
	Port        int               `json:"port"`
	Weight      float64           `json:"weight"`
	Healthy     bool              `json:"healthy"`
	Enabled     bool              `json:"enabled"`
	ClusterName string            `json:"clusterName"`
	Metadata    map[string]string `json:"metadata"`
}
