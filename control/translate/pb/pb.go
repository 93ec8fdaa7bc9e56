// Package pb holds constructors for the small protobuf messages that every
// xDS resource is full of. It knows Envoy's API and nothing of a mesh.
package pb

import (
	"fmt"
	"math"
	"net/netip"
	"sort"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/wire"
)

// Any packs a message; the bytes are the same for the same message.
func Any(m proto.Message) *anypb.Any {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: marshal " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: raw}
}

// Duration wraps a duration; negative ones become zero, which Envoy reads as "off".
func Duration(d time.Duration) *durationpb.Duration {
	return durationpb.New(max(d, 0))
}

// U32 wraps a number.
func U32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

// U32Set wraps a number, or returns nil for 0, which means "not set".
func U32Set(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}

// True wraps true.
func True() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }

// False wraps false.
func False() *wrapperspb.BoolValue { return wrapperspb.Bool(false) }

// Fraction is a percentage with four decimal places.
func Fraction(percent float64) *typev3.FractionalPercent {
	if percent == math.Trunc(percent) {
		return &typev3.FractionalPercent{Numerator: uint32(percent), Denominator: typev3.FractionalPercent_HUNDRED}
	}
	return &typev3.FractionalPercent{
		Numerator: uint32(math.Round(percent * 10000)), Denominator: typev3.FractionalPercent_MILLION,
	}
}

// RuntimeFraction is a percentage without a runtime key.
func RuntimeFraction(percent float64) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: Fraction(percent)}
}

// ADS says that a resource comes over the same stream.
func ADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		// 0: wait as long as it takes; a listener must not start without its routes.
		InitialFetchTimeout: durationpb.New(0),
	}
}

// LocalSDS is the source of the workload's own certificate: the agent beside
// the proxy (or the Go proxy itself).
func LocalSDS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices:              []*corev3.GrpcService{GRPC(wire.SDSCluster)},
		}},
	}
}

// GRPC is a gRPC service in a cluster.
func GRPC(cluster string) *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
	}}
}

// Address is a TCP address.
func Address(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// Pipe is a unix socket.
func Pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

// CIDR is a prefix.
func CIDR(p netip.Prefix) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: p.Masked().Addr().String(), PrefixLen: U32(uint32(p.Bits()))}
}

// ParseCIDR reads an address or a prefix.
func ParseCIDR(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix like 10.0.0.0/8", s)
	}
	return p, nil
}

// Exact matches one string.
func Exact(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v}}
}

// Prefix matches strings that begin with v.
func Prefix(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: v}}
}

// Suffix matches strings that end with v.
func Suffix(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: v}}
}

// Regex matches whole strings by RE2.
func Regex(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: RE2(v)}}
}

// RE2 is a regular expression.
func RE2(v string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: v} }

// StringStruct is a flat struct of strings.
func StringStruct(fields map[string]string) *structpb.Struct {
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for k, v := range fields {
		out.Fields[k] = structpb.NewStringValue(v)
	}
	return out
}

// Metadata has structs by filter name.
func Metadata(of map[string]*structpb.Struct) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: of}
}

// IstioMetadata has the fields under "istio".
func IstioMetadata(fields map[string]*structpb.Value) *corev3.Metadata {
	return Metadata(map[string]*structpb.Struct{"istio": {Fields: fields}})
}

// Config is the path under which Istio's metadata names an object:
// "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews".
func Config(kind, namespace, name string) *structpb.Value {
	return structpb.NewStringValue("/apis/networking.istio.io/v1/namespaces/" + namespace + "/" + kind + "/" + name)
}

// ConfigTitle is what people call the object that a path of Config names:
// "VirtualService default/reviews".
func ConfigTitle(path string) string {
	parts := strings.Split(path, "/") // "", apis, group, version, namespaces, NAMESPACE, KIND, NAME
	if len(parts) != 8 {
		return path
	}
	var kind strings.Builder
	for word := range strings.SplitSeq(parts[6], "-") {
		if word != "" {
			kind.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return kind.String() + " " + parts[5] + "/" + parts[7]
}

// Keys returns the sorted keys of a map.
func Keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
