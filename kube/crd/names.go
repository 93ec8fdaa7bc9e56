package crd

import "strings"

// Plural is the name of a kind's resource, as the projects that own the kinds have it.
func Plural(kind string) string {
	s := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(s, "s"), strings.HasSuffix(s, "x"):
		return s + "es"
	case strings.HasSuffix(s, "y") && !strings.HasSuffix(s, "ay"): // gateways, and policies
		return s[:len(s)-1] + "ies"
	}
	return s + "s"
}

// shortNames are those that the owners of the kinds have.
var shortNames = map[string][]string{
	"VirtualService": {"vs"}, "DestinationRule": {"dr"}, "Gateway": {"gw"}, "ServiceEntry": {"se"}, "WorkloadEntry": {"we"}, "WorkloadGroup": {"wg"},
	"PeerAuthentication": {"pa"}, "RequestAuthentication": {"ra"}, "AuthorizationPolicy": {"ap"}, "Telemetry": {"telemetry"}, "GatewayClass": {"gc"},
	"ReferenceGrant": {"refgrant"}, "BackendTLSPolicy": {"btlspolicy"}, "ListenerSet": {"lset"},
	"RedisService": {"rsvc"}, "RedisDestination": {"rd"}, "DubboAuthorizationPolicy": {"dap"}, "MetaRouter": {"mr"}, "ApplicationProtocol": {"approto"},
	"ServiceFence": {"svf"}, "SmartLimiter": {"sml"}, "EnvoyPlugin": {"evp"}, "PluginManager": {"plm"}, "SlimeBoot": {"slime"},
}

var age = Column{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}

func column(name, path string) Column { return Column{Name: name, Type: "string", JSONPath: path} }

// columns are what people look for first.
var columns = map[string][]Column{
	"VirtualService":      {column("Gateways", ".spec.gateways"), column("Hosts", ".spec.hosts")},
	"DestinationRule":     {column("Host", ".spec.host")},
	"ServiceEntry":        {column("Hosts", ".spec.hosts"), column("Location", ".spec.location"), column("Resolution", ".spec.resolution")},
	"WorkloadEntry":       {column("Address", ".spec.address")},
	"AuthorizationPolicy": {column("Action", ".spec.action")},
	"PeerAuthentication":  {column("Mode", ".spec.mtls.mode")},
	"HTTPRoute":           {column("Hostnames", ".spec.hostnames")},
	"GRPCRoute":           {column("Hostnames", ".spec.hostnames")},
	"GatewayClass":        {column("Controller", ".spec.controllerName"), column("Accepted", `.status.conditions[?(@.type=="Accepted")].status`)},
	"MetaRouter":          {column("Hosts", ".spec.hosts")},
	"ApplicationProtocol": {column("Protocol", ".spec.protocol"), column("Codec", ".spec.codec")},
	"RedisService":        {column("Hosts", ".spec.host")},
	"RedisDestination":    {column("Host", ".spec.host")},
	"ServiceFence":        {Column{Name: "Enabled", Type: "boolean", JSONPath: ".spec.enable"}},
	"Registry":            {column("Type", ".spec.type"), column("Addresses", ".spec.addresses")},
}
