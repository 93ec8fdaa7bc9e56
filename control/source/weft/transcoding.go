package weft

import (
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	api "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

// usualReflection is how often servers are asked.
const usualReflection = time.Minute

func convertTranscoding(d *document.Document) []model.Object {
	spec, err := document.Into[api.TranscodingSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	if spec.Host == "" {
		d.Error(document.CodeMissing, "spec.host", "name the service", "is missing")
	} else {
		d.Host("spec.host", spec.Host, false)
	}
	t := &model.Transcoding{Meta: d.Meta, Host: document.FQDN(spec.Host, d.Key.Namespace, istio.Domain), Port: uint16(spec.Port), Thrift: spec.Thrift} //nolint:gosec // its shape bounds it
	switch {
	case (spec.Thrift == nil) == (spec.GRPC == nil):
		d.Error(document.CodeMissing, "spec", "write thrift with an idl, or grpc with a descriptorSet or reflection", "says not one protocol")
	case spec.Thrift != nil:
		_, problems := spec.Thrift.Check()
		for _, p := range problems {
			d.Invalid("spec.thrift."+p.Field, p.Remedy, "%s", p.Message)
		}
	default:
		t.GRPC = grpcTranscoding(d, spec.GRPC, t.Host)
	}
	return []model.Object{t}
}

func grpcTranscoding(d *document.Document, g *api.GRPCTranscoding, host string) *model.GRPCTranscoding {
	out := &model.GRPCTranscoding{
		Services: g.Services, OnlyAnnotated: g.OnlyAnnotated, RejectUnknown: g.RejectUnknownMethods, IgnoreUnknownQuery: g.IgnoreUnknownQueryParameters,
		PlainStatus: g.PlainStatus, ProtoNames: g.PreserveFieldNames, PrintDefaults: g.PrintDefaults,
	}
	if (g.DescriptorSet == "") == (g.Reflection == nil) {
		d.Error(document.CodeMissing, "spec.grpc", "write one of descriptorSet and reflection", "does not say, or says twice, where descriptors are")
	}
	if r := g.Reflection; r != nil {
		out.Reflection = &model.Reflection{
			Address: r.Address, Authority: r.Authority, Every: duration(d, "spec.grpc.reflection.refreshPeriod", r.RefreshPeriod, usualReflection),
		}
		if out.Reflection.Authority == "" {
			out.Reflection.Authority = host
		}
		if _, _, err := net.SplitHostPort(r.Address); r.Address != "" && err != nil {
			d.Invalid("spec.grpc.reflection.address", "write host:port", "%v", err)
		}
	}
	if g.DescriptorSet == "" {
		return out
	}
	const field = "spec.grpc.descriptorSet"
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(g.DescriptorSet), ""))
	if err != nil {
		d.Invalid(field, "make it with protoc --include_imports --descriptor_set_out=set.pb … and base64 set.pb", "is no base64: %v", err)
		return out
	}
	names, err := servicesOf(raw)
	if err != nil {
		d.Invalid(field, "make it with protoc --include_imports --descriptor_set_out=set.pb", "is no set of descriptors: %v", err)
		return out
	}
	for i, s := range g.Services {
		if !slices.Contains(names, s) {
			d.Invalid(document.At("spec.grpc.services", i), document.Suggest(s, names), "the descriptors have no service %q", s)
		}
	}
	if out.Set = raw; len(out.Services) == 0 {
		out.Services = names
	}
	return out
}

// servicesOf are the services of a set of descriptors, which it checks, but gRPC's own.
func servicesOf(raw []byte) ([]string, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(raw, set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	names := serviceNames(files)
	if len(names) == 0 {
		return nil, fmt.Errorf("%d files, and no service", len(set.GetFile()))
	}
	return names, nil
}

func serviceNames(files *protoregistry.Files) (names []string) {
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			if name := string(f.Services().Get(i).FullName()); !model.OwnOfGRPC(name) {
				names = append(names, name)
			}
		}
		return true
	})
	slices.Sort(names)
	return names
}
