package main

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"sync"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	typePrefix = "type.googleapis.com/envoy.config."
	typeCDS    = typePrefix + "cluster.v3.Cluster"
	typeEDS    = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	typeLDS    = typePrefix + "listener.v3.Listener"
	typeRDS    = typePrefix + "route.v3.RouteConfiguration"
	typeVHDS   = typePrefix + "route.v3.VirtualHost"
)

var types = [5]string{typeCDS, typeEDS, typeLDS, typeRDS, typeVHDS}

func typeIndex(u string) int {
	for i, t := range types {
		if t == u {
			return i
		}
	}
	return -1
}

// rawCodec hands messages over as bytes, so that responses can be read
// without building Go objects for thousands of clusters on every stream.
type rawCodec struct{}

// Marshal returns the bytes.
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal keeps a copy.
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], b...)
	return nil
}

// Name is that of the codec which it stands for.
func (rawCodec) Name() string { return "proto" }

// rsrc is one resource of a response: its name and version where delta gives them,
// and its serialized message.
type rsrc struct {
	name, version string
	val           []byte
}

// response is what both protocols' responses have in common.
type response struct {
	typeURL, version, nonce string
	rs                      []rsrc
	removed                 []string
	resBytes                []byte // the whole message
}

func eachField(b []byte, f func(n protowire.Number, v []byte, num uint64)) error {
	for len(b) > 0 {
		n, t, l := protowire.ConsumeTag(b)
		if l < 0 {
			return protowire.ParseError(l)
		}
		b = b[l:]
		switch t {
		case protowire.BytesType:
			v, l := protowire.ConsumeBytes(b)
			if l < 0 {
				return protowire.ParseError(l)
			}
			f(n, v, 0)
			b = b[l:]
		case protowire.VarintType:
			v, l := protowire.ConsumeVarint(b)
			if l < 0 {
				return protowire.ParseError(l)
			}
			f(n, nil, v)
			b = b[l:]
		default:
			l := protowire.ConsumeFieldValue(n, t, b)
			if l < 0 {
				return protowire.ParseError(l)
			}
			b = b[l:]
		}
	}
	return nil
}

func anyValue(b []byte) (v []byte) {
	eachField(b, func(n protowire.Number, x []byte, _ uint64) {
		if n == 2 {
			v = x
		}
	})
	return v
}

func parseResponse(b []byte, delta bool) (response, error) {
	r := response{resBytes: b}
	err := eachField(b, func(n protowire.Number, v []byte, _ uint64) {
		switch n {
		case 1:
			r.version = string(v)
		case 2:
			if !delta {
				r.rs = append(r.rs, rsrc{val: anyValue(v)})
				return
			}
			var x rsrc
			eachField(v, func(n protowire.Number, y []byte, _ uint64) {
				switch n {
				case 1:
					x.version = string(y)
				case 2:
					x.val = anyValue(y)
				case 3:
					x.name = string(y)
				}
			})
			r.rs = append(r.rs, x)
		case 4:
			r.typeURL = string(v)
		case 5:
			r.nonce = string(v)
		case 6:
			if delta {
				r.removed = append(r.removed, string(v))
			}
		}
	})
	return r, err
}

// firstString is field 1 of a message: the name of a cluster, listener or
// route, the cluster_name of a load assignment.
func firstString(b []byte) (s string) {
	eachField(b, func(n protowire.Number, v []byte, _ uint64) {
		if n == 1 && s == "" {
			s = string(v)
		}
	})
	return s
}

// edsName is the name a cluster asks EDS for, or "".
func edsName(b []byte) string {
	name, svc, eds := "", "", false
	eachField(b, func(n protowire.Number, v []byte, num uint64) {
		switch n {
		case 1:
			name = string(v)
		case 2:
			eds = num == 3
		case 3:
			eachField(v, func(n protowire.Number, v []byte, _ uint64) {
				if n == 2 {
					svc = string(v)
				}
			})
		}
	})
	if !eds {
		return ""
	}
	if svc != "" {
		return svc
	}
	return name
}

// rdsNames are the route configurations that a listener asks RDS for.
func rdsNames(b []byte) []string {
	l := &listenerv3.Listener{}
	if proto.Unmarshal(b, l) != nil {
		return nil
	}
	var out []string
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
	}
	for _, c := range chains {
		for _, f := range c.Filters {
			a := f.GetTypedConfig()
			if a == nil || !strings.HasSuffix(a.TypeUrl, ".HttpConnectionManager") {
				continue
			}
			h := &hcmv3.HttpConnectionManager{}
			if proto.Unmarshal(a.Value, h) == nil && h.GetRds() != nil {
				out = append(out, h.GetRds().RouteConfigName)
			}
		}
	}
	return out
}

// dependents says what a CDS or LDS response makes a proxy subscribe to. The
// streams get the same bytes, so the answer is kept by hash.
var depCache sync.Map // [32]byte -> *depInfo

type depInfo struct {
	names []string            // all, in order, no repeats
	by    map[string][]string // delta: resource name -> dependents
}

func dependents(r response) *depInfo {
	h := sha256.New()
	h.Write([]byte(r.typeURL))
	for _, x := range r.rs {
		h.Write(x.val)
	}
	var key [32]byte
	h.Sum(key[:0])
	if v, ok := depCache.Load(key); ok {
		return v.(*depInfo)
	}
	d := &depInfo{by: map[string][]string{}}
	seen := map[string]bool{}
	for _, x := range r.rs {
		var ns []string
		if r.typeURL == typeCDS {
			if n := edsName(x.val); n != "" {
				ns = []string{n}
			}
		} else {
			ns = rdsNames(x.val)
		}
		name := x.name
		if name == "" {
			name = firstString(x.val)
		}
		d.by[name] = ns
		for _, n := range ns {
			if !seen[n] {
				seen[n] = true
				d.names = append(d.names, n)
			}
		}
	}
	v, _ := depCache.LoadOrStore(key, d)
	return v.(*depInfo)
}

// socketAddresses are the texts in a cluster or load assignment that look like IPv4
// addresses of the 100.64.0.0/10 that changes write: it is read as bytes, since
// thousands of streams take thousands of them.
func socketAddresses(b []byte) (out []string) {
	for {
		at := bytes.Index(b, []byte("100."))
		if at < 0 {
			return out
		}
		b = b[at:]
		end := 0
		for end < len(b) && (b[end] == '.' || b[end] >= '0' && b[end] <= '9') {
			end++
		}
		out = append(out, string(b[:end]))
		b = b[end:]
	}
}
