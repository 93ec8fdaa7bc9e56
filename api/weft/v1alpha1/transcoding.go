package v1alpha1

import "github.com/weftmesh/weft/wire/thriftidl"

// Transcoding lets clients that speak HTTP and JSON call a service that speaks gRPC or Thrift. It
// counts in the namespace of the service.
//
//	apiVersion: weft.dev/v1alpha1
//	kind: Transcoding
//	metadata: {name: shop, namespace: default}
//	spec:
//	  host: shop
//	  grpc: {reflection: {}}
type Transcoding struct {
	Spec TranscodingSpec `json:"spec"`
}

// TranscodingSpec says what the service's messages are. One of Thrift and GRPC is required.
type TranscodingSpec struct {
	// Host is the service, as in a DestinationRule. Required.
	Host string `json:"host"`
	// Port of the service; default: all that speak the protocol.
	Port int32 `json:"port,omitempty"`
	// Thrift is an IDL, and how messages are framed.
	Thrift *thriftidl.Mapping `json:"thrift,omitempty"`
	// GRPC is a set of descriptors.
	GRPC *GRPCTranscoding `json:"grpc,omitempty"`
}

// GRPCTranscoding says which methods of gRPC are called, and how. One of DescriptorSet and
// Reflection is required.
type GRPCTranscoding struct {
	// DescriptorSet is a FileDescriptorSet in base64: protoc --include_imports --descriptor_set_out=/dev/stdout … | base64.
	DescriptorSet string `json:"descriptorSet,omitempty"`
	// Reflection has the control plane ask the server.
	Reflection *Reflection `json:"reflection,omitempty"`
	// Services by their full names; default: all but gRPC's own.
	Services []string `json:"services,omitempty"`
	// OnlyAnnotated leaves out what has no google.api.http option; default: such methods are called by
	// POST /package.Service/Method.
	OnlyAnnotated bool `json:"onlyAnnotated,omitempty"`
	// RejectUnknownMethods answers what fits no method with 404; default: it is passed on as it is.
	RejectUnknownMethods bool `json:"rejectUnknownMethods,omitempty"`
	// IgnoreUnknownQueryParameters; default: a request that has some is passed on as it is.
	IgnoreUnknownQueryParameters bool `json:"ignoreUnknownQueryParameters,omitempty"`
	// PlainStatus leaves errors to headers; default: a google.rpc.Status in JSON.
	PlainStatus bool `json:"plainStatus,omitempty"`
	// PreserveFieldNames prints fields as in the .proto; default: in lowerCamelCase.
	PreserveFieldNames bool `json:"preserveFieldNames,omitempty"`
	// PrintDefaults prints fields that have their default value, too.
	PrintDefaults bool `json:"printDefaults,omitempty"`
}

// Reflection is gRPC's protocol by which servers say what they serve.
type Reflection struct {
	// Address is host:port in plain text; default: an instance of the service.
	Address string `json:"address,omitempty"`
	// Authority of the calls; default: the service's host.
	Authority string `json:"authority,omitempty"`
	// RefreshPeriod between questions; default: 1m.
	RefreshPeriod string `json:"refreshPeriod,omitempty"`
}
