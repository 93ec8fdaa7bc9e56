package patch

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localrate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftmesh/weft/control/model"
)

// filled is a message with random fields, some of them wrong.
func filled(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if r.IntN(3) > 0 || fd.Message() != nil && depth == 0 || fd.Message() != nil && fd.Message().FullName() == "google.protobuf.Any" {
			continue
		}
		switch {
		case fd.IsMap():
			if fd.MapKey().Kind() == protoreflect.StringKind && fd.MapValue().Message() != nil {
				v := m.Mutable(fd).Map().NewValue()
				filled(r, v.Message(), depth-1)
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString("k").MapKey(), v)
			}
		case fd.IsList() && fd.Message() != nil:
			v := m.Mutable(fd).List().AppendMutable()
			filled(r, v.Message(), depth-1)
		case fd.IsList():
			m.Mutable(fd).List().Append(scalar(r, fd))
		case fd.Message() != nil:
			filled(r, m.Mutable(fd).Message(), depth-1)
		default:
			m.Set(fd, scalar(r, fd))
		}
	}
}

func scalar(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := []int64{0, 1, -1, 7, 1 << 20, 101}[r.IntN(6)]
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n > 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(max(0, n%9)))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "x", "a b", "x\n", "/p", strings.Repeat("long", 300), "::1"}[r.IntN(7)])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(max(0, n)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(max(0, n)))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	}
	return protoreflect.ValueOfFloat64(float64(n))
}

// TestRulesAreThoseOfGeneratedCode: for messages that are linked, the rules that are read
// from descriptors say what protoc-gen-validate's code says.
func TestRulesAreThoseOfGeneratedCode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	good, bad := 0, 0
	for range 1500 {
		for _, m := range []interface {
			proto.Message
			Validate() error
		}{
			&clusterv3.Cluster{}, &listenerv3.Listener{}, &routev3.RouteConfiguration{}, &routev3.Route{}, &routev3.RouteAction{},
			&hcmv3.HttpConnectionManager{}, &localrate.LocalRateLimit{}, &tlsv3.CommonTlsContext{}, &routev3.RetryPolicy{}, &routev3.HeaderMatcher{},
		} {
			filled(r, m.ProtoReflect(), r.IntN(3))
			want, got := m.Validate(), validateMessage("", m.ProtoReflect())
			if (want == nil) != (got == nil) {
				t.Fatalf("%v\ngenerated code: %v\nhere: %v", m, want, got)
			}
			if want == nil {
				good++
			} else {
				bad++
			}
		}
	}
	if good < 500 || bad < 500 {
		t.Errorf("%d good and %d bad messages show little", good, bad)
	}
}

// TestDescriptorsAreOfThisVersion: envoy.binpb.gz is of the version that is linked.
func TestDescriptorsAreOfThisVersion(t *testing.T) {
	have := map[string]*descriptorpb.FileDescriptorProto{}
	for _, f := range read().GetFile() {
		have[f.GetName()] = f
	}
	n := 0
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(f.Path(), "envoy/") {
			n++
			if !proto.Equal(have[f.Path()], protodesc.ToFileDescriptorProto(f)) {
				t.Errorf("%s is another one: go run control/patch/gen.go", f.Path())
			}
		}
		return true
	})
	if n < 50 {
		t.Errorf("only %d files are linked", n)
	}
	z, err := gzip.NewReader(bytes.NewReader(descriptors))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Fatal(err)
	}
}

// FuzzValue: whatever stands in a patch, it is read or refused.
func FuzzValue(f *testing.F) {
	f.Add(string(model.ToHTTPFilter), `{"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", "inline_code": "x"}}`)
	f.Add(string(model.ToCluster), `{"connect_timeout": "0s"}`)
	f.Add(string(model.ToListener), testListener)
	f.Add(string(model.ToRouteConfig), testRoutes)
	f.Fuzz(func(t *testing.T, to, value string) {
		set, findings := setOf(t, model.EnvoyPatch{ApplyTo: model.ApplyTo(to), Operation: model.PatchMerge, Value: value})
		if set == nil && len(findings) == 0 {
			t.Error("a patch that is not used has no Finding")
		}
		l := message(t, &listenerv3.Listener{}, testListener)
		if out, _ := set.Listener(model.SidecarOutbound, l, nil); out != nil && validateMessage("", out.ProtoReflect()) != nil {
			t.Errorf("patched to what Envoy refuses: %v", out)
		}
		set.Cluster(model.SidecarOutbound, message(t, &clusterv3.Cluster{}, testCluster), nil)
		set.Routes(model.SidecarOutbound, message(t, &routev3.RouteConfiguration{}, testRoutes), nil)
	})
}
