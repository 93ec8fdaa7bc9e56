package reflection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftmesh/weft/control/model"
)

const (
	// patience bounds one question.
	patience = 10 * time.Second
	// What a server may say at most.
	maxFiles = 2000
	maxBytes = 16 << 20
)

// found is what a server has said: a FileDescriptorSet, each file after those that it needs, and what is served.
type found struct {
	set      []byte
	services []string
}

// methods of both versions; their messages are the same on the wire.
var methods = []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}

// ask asks a server. turn chooses the instance.
func ask(ctx context.Context, t *model.Transcoding, snap *model.Snapshot, turn int) (*found, error) {
	r := t.GRPC.Reflection
	address := r.Address
	if address == "" {
		list := instances(t, snap)
		if len(list) == 0 {
			return nil, errors.New("it has no instance with an address")
		}
		address = list[turn%len(list)]
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(r.Authority),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBytes)), grpc.WithNoProxy())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, m := range methods {
		var f *found
		if f, err = askAt(ctx, conn, m, t.GRPC.Services); err == nil {
			return f, nil
		}
		if status.Code(err) != codes.Unimplemented {
			break
		}
	}
	return nil, fmt.Errorf("%s: %w", address, err)
}

// instances are the addresses of a service's instances, sorted.
func instances(t *model.Transcoding, snap *model.Snapshot) []string {
	var out []string
	add := func(address string, port uint16) {
		if a, err := netip.ParseAddr(address); err == nil && port != 0 {
			out = append(out, netip.AddrPortFrom(a, port).String())
		}
	}
	for _, s := range snap.Services {
		i := slices.IndexFunc(s.Ports, func(p model.ServicePort) bool { return t.Of(s, &p) })
		if i < 0 {
			continue
		}
		p := &s.Ports[i]
		target := cmp.Or(p.TargetPort, p.Port)
		for j := range s.Inline {
			if e := &s.Inline[j]; e.Healthy {
				add(e.Address, cmp.Or(e.Ports[p.Name], e.Port, target))
			}
		}
		for _, w := range snap.Workloads {
			if !w.Ready || len(w.Addresses) == 0 || !s.Picks(w) {
				continue
			}
			port := target
			if p.TargetName != "" {
				port = w.Ports[p.TargetName]
			}
			if in, ok := w.Inbound[port]; ok {
				port = in.Listen
			}
			add(w.Addresses[0].String(), port)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// asker is one stream of questions.
type asker struct {
	stream grpc.ClientStream
	files  map[string]*descriptorpb.FileDescriptorProto
	bytes  int
}

func askAt(ctx context.Context, conn *grpc.ClientConn, method string, wanted []string) (*found, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return nil, err
	}
	a := &asker{stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	services, err := a.services(wanted)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, s := range services {
		files, err := a.symbol(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		roots = append(roots, files...)
	}
	out := &descriptorpb.FileDescriptorSet{}
	done := map[string]bool{}
	for _, f := range roots {
		if err := a.put(out, f, done); err != nil {
			return nil, err
		}
	}
	if _, err := protodesc.NewFiles(out); err != nil {
		return nil, fmt.Errorf("what it says makes no sense: %w", err)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	return &found{raw, services}, err
}

// say asks one question.
func (a *asker) say(r *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
	if err := a.stream.SendMsg(r); err != nil {
		return nil, a.stream.RecvMsg(&reflectionpb.ServerReflectionResponse{}) // which has the reason
	}
	out := &reflectionpb.ServerReflectionResponse{}
	if err := a.stream.RecvMsg(out); err != nil {
		return nil, err
	}
	if e := out.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("%s: %s", codes.Code(e.GetErrorCode()), e.GetErrorMessage()) //nolint:gosec // a code
	}
	return out, nil
}

// services are those that are wanted, or all but gRPC's own.
func (a *asker) services(wanted []string) ([]string, error) {
	r, err := a.say(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range r.GetListServicesResponse().GetService() {
		if !model.OwnOfGRPC(s.GetName()) {
			names = append(names, s.GetName())
		}
	}
	slices.Sort(names)
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("it does not serve %s", w)
		}
	}
	if len(wanted) > 0 {
		return wanted, nil
	}
	if len(names) == 0 {
		return nil, errors.New("it serves nothing but gRPC's own services")
	}
	return names, nil
}

// symbol takes in the file of a symbol and what comes with it; the first is the symbol's.
func (a *asker) symbol(name string) ([]string, error) {
	r, err := a.say(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
	if err != nil {
		return nil, err
	}
	return a.take(r)
}

func (a *asker) take(r *reflectionpb.ServerReflectionResponse) (names []string, err error) {
	for _, raw := range r.GetFileDescriptorResponse().GetFileDescriptorProto() {
		f := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(raw, f); err != nil {
			return nil, fmt.Errorf("a descriptor that cannot be read: %w", err)
		}
		if a.files[f.GetName()] == nil {
			a.files[f.GetName()] = f
			a.bytes += len(raw)
		}
		names = append(names, f.GetName())
	}
	if len(a.files) > maxFiles || a.bytes > maxBytes {
		return nil, fmt.Errorf("more than %d files or %d bytes of descriptors", maxFiles, maxBytes)
	}
	if len(names) == 0 {
		return nil, errors.New("an answer without a descriptor")
	}
	return names, nil
}

// put appends a file after those that it needs, which are asked for.
func (a *asker) put(out *descriptorpb.FileDescriptorSet, name string, done map[string]bool) error {
	if done[name] {
		return nil
	}
	done[name] = true
	f := a.files[name]
	if f == nil {
		r, err := a.say(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name}})
		if err == nil {
			_, err = a.take(r)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if f = a.files[name]; f == nil {
			return fmt.Errorf("%s: it was asked for, and another came", strconv.Quote(name))
		}
	}
	for _, d := range f.GetDependency() {
		if err := a.put(out, d, done); err != nil {
			return err
		}
	}
	out.File = append(out.File, f)
	return nil
}
