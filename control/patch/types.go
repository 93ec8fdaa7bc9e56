package patch

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the descriptors
	"io"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// descriptors are of all of Envoy's v3 API (see gen.go). Linking its Go code would
// cost every process some megabytes; this costs nothing until a patch names a type
// that is not linked.
//
//go:embed envoy.binpb.gz
var descriptors []byte

// types finds Envoy's messages by name: those that are linked, and the rest by
// their descriptors. It is protojson's and Any's resolver.
type types struct {
	mu   sync.Mutex
	made map[protoreflect.FullName]protoreflect.MessageType // nil: there is none
	// files says in which file each message is; nil before the first look.
	files map[protoreflect.FullName]string
}

var envoy = &types{made: map[protoreflect.FullName]protoreflect.MessageType{}}

// FindMessageByURL implements the resolver's interface.
func (t *types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	for i := len(url) - 1; i >= 0; i-- {
		if url[i] == '/' {
			return t.FindMessageByName(protoreflect.FullName(url[i+1:]))
		}
	}
	return t.FindMessageByName(protoreflect.FullName(url))
}

// FindMessageByName implements the resolver's interface.
func (t *types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if mt, err := protoregistry.GlobalTypes.FindMessageByName(name); err == nil {
		return mt, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mt := t.made[name]; mt != nil {
		return mt, nil
	}
	if t.files != nil && t.files[name] == "" {
		return nil, protoregistry.NotFound
	}
	mt := t.load(name)
	if mt == nil {
		return nil, protoregistry.NotFound
	}
	t.made[name] = mt
	return mt, nil
}

// FindExtensionByName implements the resolver's interface: Envoy's API is proto3.
func (*types) FindExtensionByName(protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber implements the resolver's interface.
func (*types) FindExtensionByNumber(protoreflect.FullName, protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}

// load makes a message's type of its file and those that this imports. Only they
// stay in memory.
func (t *types) load(name protoreflect.FullName) protoreflect.MessageType {
	set := read()
	byPath := make(map[string]*descriptorpb.FileDescriptorProto, len(set.GetFile()))
	for _, f := range set.GetFile() {
		byPath[f.GetName()] = f
	}
	if t.files == nil {
		t.files = map[protoreflect.FullName]string{}
		for _, f := range set.GetFile() {
			t.index(f.GetName(), protoreflect.FullName(f.GetPackage()), f.GetMessageType())
		}
	}
	path := t.files[name]
	if path == "" {
		return nil
	}
	needed := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(string)
	add = func(p string) {
		if f := byPath[p]; f != nil && !seen[p] {
			seen[p] = true
			for _, dep := range f.GetDependency() {
				add(dep)
			}
			needed.File = append(needed.File, f)
		}
	}
	add(path)
	files, err := protodesc.NewFiles(needed)
	if err != nil {
		panic("BUG: envoy.binpb.gz: " + err.Error())
	}
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		panic("BUG: envoy.binpb.gz: " + err.Error())
	}
	return dynamicpb.NewMessageType(d.(protoreflect.MessageDescriptor))
}

func (t *types) index(path string, scope protoreflect.FullName, list []*descriptorpb.DescriptorProto) {
	for _, m := range list {
		name := protoreflect.FullName(m.GetName())
		if scope != "" {
			name = scope + "." + name
		}
		t.files[name] = path
		t.index(path, name, m.GetNestedType())
	}
}

func read() *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	z, err := gzip.NewReader(bytes.NewReader(descriptors))
	if err == nil {
		var raw []byte
		if raw, err = io.ReadAll(z); err == nil {
			err = proto.Unmarshal(raw, set)
		}
	}
	if err != nil {
		panic("BUG: envoy.binpb.gz: " + err.Error())
	}
	return set
}
