// Package model is the vocabulary of the control plane: immutable plain data
// that every front end (Kubernetes, Istio, Gateway API, registries, Weft's own
// resources) compiles into and that every later stage reads.
//
// A value is never changed after a source has sent it: holders keep pointers
// as long as they like. Equality is by content hash, made once at the source
// (see Meta.Hash), never by reflection.
//
// The package knows no protobuf, no Kubernetes and no I/O.
package model

import (
	"strconv"
	"strings"
)

// Kind names a kind of object in the terms its users know
// ("VirtualService", "Service", "Process").
type Kind string

// The kinds that front ends produce.
const (
	KindNamespace           Kind = "Namespace"
	KindService             Kind = "Service"
	KindServiceAccount      Kind = "ServiceAccount"
	KindSecret              Kind = "Secret"
	KindConfigMap           Kind = "ConfigMap"
	KindVirtualService      Kind = "VirtualService"
	KindDestinationRule     Kind = "DestinationRule"
	KindGateway             Kind = "Gateway"
	KindServiceEntry        Kind = "ServiceEntry"
	KindWorkloadEntry       Kind = "WorkloadEntry"
	KindSidecar             Kind = "Sidecar"
	KindPeerAuthentication  Kind = "PeerAuthentication"
	KindAuthorizationPolicy Kind = "AuthorizationPolicy"
	KindTelemetry           Kind = "Telemetry"
	KindEnvoyFilter         Kind = "EnvoyFilter"
	KindProxyConfig         Kind = "ProxyConfig"
	KindWorkloadGroup       Kind = "WorkloadGroup"
	// KindMetaRouter is Aeraki's: routes of protocols that are not HTTP.
	KindMetaRouter Kind = "MetaRouter"
	// KindDubboAuthorizationPolicy is Aeraki's.
	KindDubboAuthorizationPolicy Kind = "DubboAuthorizationPolicy"
	// KindSmartLimiter is Slime's: limits that follow conditions. KindLimits is what is in force of one.
	KindSmartLimiter Kind = "SmartLimiter"
	KindLimits       Kind = "Limits"
	// Slime's.
	KindServiceFence  Kind = "ServiceFence"
	KindSlimeBoot     Kind = "SlimeBoot"
	KindEnvoyPlugin   Kind = "EnvoyPlugin"
	KindPluginManager Kind = "PluginManager"
	// Istio's plug-ins, and what was fetched for plug-ins of any kind.
	KindWasmPlugin       Kind = "WasmPlugin"
	KindTrafficExtension Kind = "TrafficExtension"
	KindModule           Kind = "Module"
	// KindApplicationProtocol is Aeraki's: a protocol of messages.
	KindApplicationProtocol Kind = "ApplicationProtocol"
	// KindQuarantine is what a proxy's refusal of a patch has made.
	KindQuarantine Kind = "Quarantine"
	// KindHealth is what a workload's agent has said of its program.
	KindHealth Kind = "Health"
	// KindKeySet is what was fetched for a RequestAuthentication.
	KindKeySet Kind = "KeySet"
	// KindTrustBundle has certificates of authorities.
	KindTrustBundle           Kind = "TrustBundle"
	KindRequestAuthentication Kind = "RequestAuthentication"
	KindProcess               Kind = "Process"
	// KindWorkload is a running replica of a Process, or a pod.
	KindWorkload   Kind = "Workload"
	KindMeshConfig Kind = "MeshConfig"
	// KindEndpointSlice and KindEndpoints are parts of a Service.
	KindEndpointSlice Kind = "EndpointSlice"
	KindEndpoints     Kind = "Endpoints"
)

// Key identifies an object: no two objects of one mesh share it.
type Key struct {
	Kind      Kind   `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns "Kind/namespace/name", or "Kind/name" for what has no namespace.
func (k Key) String() string {
	if k.Namespace == "" {
		return string(k.Kind) + "/" + k.Name
	}
	return string(k.Kind) + "/" + k.Namespace + "/" + k.Name
}

// Title is the key as people say it: "VirtualService default/reviews".
func (k Key) Title() string { return strings.Replace(k.String(), "/", " ", 1) }

// Origin says where an object was read: for error messages and `weft explain`.
type Origin struct {
	// Source is the name of the source, e.g. "file" or "api".
	Source string `json:"source,omitempty"`
	// File is the path as the user knows it; empty when there is none.
	File string `json:"file,omitempty"`
	// Line is the 1-based line where the object begins; 0 when unknown.
	Line int `json:"line,omitempty"`
}

// String returns "file:line", the file, or the source's name.
func (o Origin) String() string {
	switch {
	case o.File == "":
		return o.Source
	case o.Line == 0:
		return o.File
	}
	return o.File + ":" + strconv.Itoa(o.Line)
}

// Meta is what every object carries.
type Meta struct {
	Key    Key
	Origin Origin
	// Labels and Annotations are the object's own, read-only.
	Labels      map[string]string
	Annotations map[string]string
	// Created orders objects that compete: the older one wins, ties go to the
	// lower namespace/name. Unix nanoseconds; 0 when the source knows none.
	Created int64
	// Generation is Kubernetes' number of the object's spec, which counts up; 0 when the
	// source knows none.
	Generation int64 `json:",omitempty"`
	// Hash is a hash of the whole content, made once at the source. Two objects
	// with equal Key and Hash are the same.
	Hash uint64
	// Lines says where fields stand; empty when the source reads no text.
	Lines Lines
	// Of is the object that this one was made of (a Gateway of Gateway API); zero:
	// it is one of the user's own.
	Of Key
}

// At returns the origin of a field, for a Finding about it.
func (m *Meta) At(field string) Origin {
	o := m.Origin
	if n := m.Lines.Line(field); n != 0 {
		o.Line = n
	}
	return o
}

// Written is the object that a user knows: this one, or what it was made of.
func (m *Meta) Written() Key {
	if m.Of != (Key{}) {
		return m.Of
	}
	return m.Key
}

// Parent cuts the last element off a field path.
func Parent(field string) string {
	if strings.HasSuffix(field, `"]`) {
		// The key of a map may hold anything; it is quoted then.
		if i := strings.LastIndex(field, `["`); i >= 0 {
			return field[:i]
		}
	}
	if strings.HasSuffix(field, "]") {
		return field[:max(0, strings.LastIndexByte(field, '['))]
	}
	return field[:max(0, strings.LastIndexByte(field, '.'))]
}

// Object is any model object.
type Object interface {
	// Head returns the object's metadata, read-only.
	Head() *Meta
}

// Head implements Object for everything that embeds Meta.
func (m *Meta) Head() *Meta { return m }

// Visibility is an exportTo list, resolved by the front end.
type Visibility struct {
	// Public: every namespace ("*", the default).
	Public bool
	// Namespaces that may see the object when not Public; "." is already
	// replaced by the object's own namespace. Empty and not Public: nobody ("~").
	Namespaces []string
	// Default: the object says nothing itself. control/snapshot puts in the
	// mesh's default (Mesh.ServiceExports …), so later stages need not look.
	Default bool
}

// To tells whether a workload of the namespace may see the object.
func (v Visibility) To(namespace string) bool {
	if v.Public {
		return true
	}
	for _, n := range v.Namespaces {
		if n == namespace {
			return true
		}
	}
	return false
}

// Namespace is a namespace and its labels. It does not have to be declared for
// objects to live in it.
type Namespace struct {
	Meta `json:"meta"`
}

// ServiceAccount exists so that a Process that names a missing one gets a Finding.
type ServiceAccount struct {
	Meta `json:"meta"`
}

// Secret holds certificates for gateways and client TLS: the keys of Kubernetes'
// `kubernetes.io/tls` and Istio's generic form.
type Secret struct {
	Meta `json:"meta"`
	// Cert, Key and CA are PEM; empty when absent (tls.crt/cert, tls.key/key,
	// ca.crt/cacert). CRL is PEM too (ca.crl).
	Cert, PrivateKey, CA, CRL PrivateBytes
	// Docker are credentials of image registries (.dockerconfigjson).
	Docker PrivateBytes
	// Values are the others of an Opaque one, such as passwords.
	Values map[string]PrivateBytes
}

// PrivateBytes is secret content: it prints as "(redacted)".
type PrivateBytes []byte

// String never shows the content.
func (PrivateBytes) String() string { return "(redacted)" }

// GoString never shows the content.
func (PrivateBytes) GoString() string { return "(redacted)" }

// MarshalText keeps the content out of JSON and YAML dumps.
func (PrivateBytes) MarshalText() ([]byte, error) { return []byte("(redacted)"), nil }
