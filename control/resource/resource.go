// Package resource holds xDS resources as they go over the wire, and immutable
// sets of them that know how they came from one another.
//
// A Resource is marshalled once, when it is made, in the very bytes that delta and
// state-of-the-world responses carry, so that a response is put together and never
// marshalled. A Set knows which names differ from its predecessors: what a change
// costs, for each stream that has to look at it, is the change and not the set.
//
// Everything here is read-only once made and may be used by any goroutine. The
// package knows no mesh, no types of resources, and no streams.
package resource

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one xDS resource. It is shared between streams and never changed.
type Resource struct {
	Name string
	// Version is a hash of the content.
	Version string
	// Body's value is a part of the bytes below. It is nil of a Hollow resource.
	Body *anypb.Any
	// Delta is the resource as a field of a DeltaDiscoveryResponse, World as one of
	// a DiscoveryResponse.
	Delta, World mem.Buffer
}

// Fields of envoy.service.discovery.v3: both responses have their resources in
// field 2.
const (
	fieldResources    = 2 // of DiscoveryResponse (Any) and DeltaDiscoveryResponse (Resource)
	fieldVersion      = 1 // of Resource
	fieldBody         = 2 // of Resource: the same tag as fieldResources, which World relies on
	fieldName         = 3 // of Resource
	fieldAliases      = 4 // of Resource
	fieldTypeURL      = 1 // of Any
	fieldValue        = 2 // of Any
	largestVarintHead = 1 + 5
)

// New makes a resource of its marshalled message.
func New(typeURL, name, version string, message []byte) *Resource {
	size := protowire.SizeTag(fieldTypeURL) + protowire.SizeBytes(len(typeURL))
	if len(message) > 0 {
		size += protowire.SizeTag(fieldValue) + protowire.SizeBytes(len(message))
	}
	inner := protowire.SizeTag(fieldVersion) + protowire.SizeBytes(len(version)) +
		protowire.SizeTag(fieldBody) + protowire.SizeBytes(size) +
		protowire.SizeTag(fieldName) + protowire.SizeBytes(len(name))

	b := make([]byte, 0, largestVarintHead+inner)
	b = protowire.AppendTag(b, fieldResources, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, fieldVersion, protowire.BytesType)
	b = protowire.AppendString(b, version)
	world := len(b)
	b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, fieldTypeURL, protowire.BytesType)
	b = protowire.AppendString(b, typeURL)
	value := len(b)
	if len(message) > 0 {
		b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
		b = protowire.AppendBytes(b, message)
		value = len(b) - len(message)
	}
	end := len(b)
	b = protowire.AppendTag(b, fieldName, protowire.BytesType)
	b = protowire.AppendString(b, name)
	return &Resource{
		Name: name, Version: version,
		Body:  &anypb.Any{TypeUrl: typeURL, Value: b[value:end:end]},
		Delta: mem.SliceBuffer(b), World: mem.SliceBuffer(b[world:end:end]),
	}
}

// Hollow makes a resource that says that there is none of its name: no message, and
// the name as an alias too, which is how proxies know that their question about a
// virtual host is answered. It is for delta responses only.
func Hollow(name string) *Resource {
	const version = "none"
	var inner []byte
	inner = protowire.AppendTag(inner, fieldVersion, protowire.BytesType)
	inner = protowire.AppendString(inner, version)
	inner = protowire.AppendTag(inner, fieldName, protowire.BytesType)
	inner = protowire.AppendString(inner, name)
	inner = protowire.AppendTag(inner, fieldAliases, protowire.BytesType)
	inner = protowire.AppendString(inner, name)
	b := protowire.AppendTag(nil, fieldResources, protowire.BytesType)
	b = protowire.AppendBytes(b, inner)
	return &Resource{Name: name, Version: version, Delta: mem.SliceBuffer(b), World: mem.SliceBuffer(nil)}
}
