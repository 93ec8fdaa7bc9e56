package model

import (
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/wire/thriftidl"
)

const (
	// KindTranscoding is Weft's own: how requests of HTTP with JSON become those of another protocol.
	KindTranscoding Kind = "Transcoding"
	// KindDescriptors is what a server has said by reflection, under the key of the Transcoding that asked.
	KindDescriptors Kind = "Descriptors"
)

// Transcoding says what requests of HTTP with JSON become for a service. One of Thrift and GRPC is set.
type Transcoding struct {
	Meta `json:"meta"`
	// Host is the service's, of the object's own namespace; Port 0: all of its ports of the protocol.
	Host   string
	Port   uint16
	Thrift *thriftidl.Mapping
	GRPC   *GRPCTranscoding
}

// GRPCTranscoding is how gRPC is called.
type GRPCTranscoding struct {
	// Set is a google.protobuf.FileDescriptorSet; nil: as Reflection says.
	Set        []byte
	Reflection *Reflection
	// Services by their full names; nil: all but gRPC's own.
	Services []string

	OnlyAnnotated, RejectUnknown, IgnoreUnknownQuery, PlainStatus, ProtoNames, PrintDefaults bool
}

// OwnOfGRPC tells whether a service is one that gRPC brings along itself.
func OwnOfGRPC(service string) bool {
	return slices.ContainsFunc([]string{"grpc.reflection.", "grpc.health.", "grpc.channelz."}, func(p string) bool { return strings.HasPrefix(service, p) })
}

// Reflection is whom to ask, and how often.
type Reflection struct {
	// Address is host:port, "": an instance's. Authority is that of the calls.
	Address, Authority string
	Every              time.Duration
}

// Descriptors is what a server has said by reflection.
type Descriptors struct {
	Meta `json:"meta"`
	// Set is a google.protobuf.FileDescriptorSet, Services what of it the server serves.
	Set      []byte
	Services []string
}

// Descriptors is the key of what is fetched for a Transcoding.
func (t *Transcoding) Descriptors() Key {
	return Key{Kind: KindDescriptors, Namespace: t.Key.Namespace, Name: t.Key.Name}
}

// Of tells whether it is for a port of a service.
func (t *Transcoding) Of(s *Service, p *ServicePort) bool {
	if t.Host != s.Host || t.Key.Namespace != s.Namespace || t.Port != 0 && t.Port != p.Port {
		return false
	}
	if t.Thrift != nil {
		return p.Protocol.Messages() == "thrift"
	}
	return p.Protocol.IsHTTP2()
}
