package model

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Objects are objects of any kind that can be written as JSON and read again without
// loss, by the same release: for tools that are told what a control plane has. They
// never hold private keys: see Secret.Sealed.
type Objects []Object

// prototypes are all types of objects, by their names.
var prototypes = func() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, o := range []Object{
		&Namespace{}, &ServiceAccount{}, &Secret{}, &Service{}, &EndpointSlice{}, &Workload{}, &RouteSet{}, &TrafficPolicySet{}, &Gateway{}, &Sidecar{},
		&PeerAuth{}, &Authz{}, &RequestAuth{}, &KeySet{}, &TrustBundle{}, &Telemetry{}, &Mesh{}, &Process{},
		&EnvoyFilter{}, &Quarantine{}, &Health{}, &ProxyConfig{}, &WorkloadGroup{}, &Registry{}, &RegistrySource{}, &Transcoding{}, &Descriptors{},
		&Fence{}, &Boot{}, &Module{},
		&AppProtocol{}, &SmartLimiter{}, &Limits{}, &RedisService{}, &RedisDestination{},
		&GatewayClass{}, &IngressClass{}, &APIGateway{}, &ListenerSet{}, &APIRoute{}, &ReferenceGrant{}, &BackendTLSPolicy{}, &Ingress{},
	} {
		t := reflect.TypeOf(o).Elem()
		out[t.Name()] = t
	}
	return out
}()

// typed is an object in JSON.
type typed struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// MarshalJSON implements json.Marshaler.
func (list Objects) MarshalJSON() ([]byte, error) {
	out := make([]typed, len(list))
	for i, o := range list {
		t := reflect.TypeOf(o)
		if t.Kind() != reflect.Pointer || prototypes[t.Elem().Name()] != t.Elem() {
			return nil, fmt.Errorf("%s: objects of the type %s cannot be written", o.Head().Key, t)
		}
		var v any = o
		if s, ok := o.(*Secret); ok {
			v = secretJSON(*s.Sealed())
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Head().Key, err)
		}
		out[i] = typed{t.Elem().Name(), raw}
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (list *Objects) UnmarshalJSON(raw []byte) error {
	var in []typed
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*list = make(Objects, len(in))
	for i, x := range in {
		t := prototypes[x.Type]
		if t == nil {
			return fmt.Errorf("objects of the type %q are not known: the control plane is of another release", x.Type)
		}
		v := reflect.New(t)
		into := v.Interface()
		if s, ok := into.(*Secret); ok {
			into = (*secretJSON)(s)
		}
		if err := json.Unmarshal(x.Object, into); err != nil {
			return fmt.Errorf("an object of the type %s: %w", x.Type, err)
		}
		(*list)[i] = v.Interface().(Object)
	}
	return nil
}

// secretJSON is a Secret whose content is written.
type secretJSON Secret

// MarshalJSON implements json.Marshaler.
func (s secretJSON) MarshalJSON() ([]byte, error) {
	t := secretText{Meta: s.Meta, Cert: string(s.Cert), Key: string(s.PrivateKey), CA: string(s.CA), CRL: string(s.CRL), Docker: string(s.Docker)}
	if s.Values != nil {
		t.Values = map[string]string{}
		for name, v := range s.Values {
			t.Values[name] = string(v)
		}
	}
	return json.Marshal(t)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *secretJSON) UnmarshalJSON(raw []byte) error {
	var t secretText
	if err := json.Unmarshal(raw, &t); err != nil {
		return err
	}
	bytes := func(s string) PrivateBytes {
		if s == "" {
			return nil
		}
		return PrivateBytes(s)
	}
	*s = secretJSON{Meta: t.Meta, Cert: bytes(t.Cert), PrivateKey: bytes(t.Key), CA: bytes(t.CA), CRL: bytes(t.CRL), Docker: bytes(t.Docker)}
	if t.Values != nil {
		s.Values = map[string]PrivateBytes{}
		for name, v := range t.Values {
			s.Values[name] = bytes(v)
		}
	}
	return nil
}

type secretText struct {
	Meta                       Meta
	Cert, Key, CA, CRL, Docker string
	Values                     map[string]string `json:",omitempty"`
}

// sealed begins what stands for a private key.
const sealed = "sha256:"

// Sealed is the Secret with a digest in the place of its private key and credentials, which still
// tells whether two are the same.
func (s *Secret) Sealed() *Secret {
	open := func(b PrivateBytes) bool { return len(b) > 0 && !strings.HasPrefix(string(b), sealed) }
	seal := func(b PrivateBytes) PrivateBytes {
		if !open(b) {
			return b
		}
		sum := sha256.Sum256(b)
		return PrivateBytes(sealed + hex.EncodeToString(sum[:]))
	}
	some := open(s.PrivateKey) || open(s.Docker)
	for _, v := range s.Values {
		some = some || open(v)
	}
	if !some {
		return s
	}
	out := *s
	out.PrivateKey, out.Docker = seal(s.PrivateKey), seal(s.Docker)
	if s.Values != nil {
		out.Values = map[string]PrivateBytes{}
		for name, v := range s.Values {
			out.Values[name] = seal(v)
		}
	}
	return &out
}

// MarshalText implements encoding.TextMarshaler.
func (l Lines) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString([]byte(l.Pack().packed))), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Lines) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	if !packable(raw) {
		return errors.New("the lines of an object are torn")
	}
	*l = Lines{packed: string(raw)}
	return nil
}

// packable tells whether bytes are what Pack makes.
func packable(raw []byte) bool {
	before := uint64(0) // length of the path before
	for len(raw) > 0 {
		var n [3]uint64
		for i := range n {
			if i == 2 {
				if n[1] > uint64(len(raw)) {
					return false
				}
				raw = raw[n[1]:]
			}
			v, size := binary.Uvarint(raw)
			if size <= 0 {
				return false
			}
			n[i], raw = v, raw[size:]
		}
		if n[0] > before {
			return false
		}
		before = n[0] + n[1]
	}
	return true
}
