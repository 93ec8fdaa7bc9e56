package gwstatus_test

import "regexp"

// skipped are files that are about what Weft has not, and why.
var skipped = map[string]string{
	"backend-tls-client-cert":    "certificates of Gateways towards backends are refused",
	"backend-tls-policy-ignored": "an annotation of Istio's that Weft does not know",
	"east-west-ambient":          "east-west gateways are Istio's ambient mode",
	"eastwest":                   "as above",
	"eastwest-labelport":         "as above",
	"eastwest-remote":            "as above",
	"eastwest-tlsoption":         "as above",
	"tls":                        "its Gateway has the option tls-terminate-mode, which is refused",
	"waypoint":                   "waypoints are Istio's ambient mode",
	"foreign-waypoint":           "as above",
}

// istioDiffers are differences, as "FILE KIND/namespace/name ±PLACE: …".
var istioDiffers = []struct {
	of  *regexp.Regexp
	why string
}{
	{re(` GatewayClass/\S+ \+: SupportedVersion=True`), "Istio's status of classes has no SupportedVersion"},
	{re(` Gateway\.\S+ [-+]: ResolvedRefs=(True ResolvedRefs|False ListenersNotResolved)$`), "Istio does not sum up its listeners' references: ListenersNotResolved is new in v1.6; a Gateway that is refused has none"},
	{re(`[-+]: Accepted=True (Accepted|ListenersNotValid)$`), "where some listeners are not valid, and others are, the reason is ListenersNotValid here"},
	{re(`[-+].*: Programmed=False (Invalid|ListenersNotValid|HostnameConflict|ProtocolConflict)$`), "the API's reason of what is not programmed since it is not valid is Invalid"},
	{re(`\+listener \S+: ResolvedRefs=True ResolvedRefs$`), "Istio gives listeners with a conflict the conflict for their references"},
	{re(`^listenerset-\S+ .*[-+]listener \S+: Accepted=(False NoValidCACertificate|True Accepted)$`), "Istio says NoValidCACertificate of certificates that a ListenerSet may not use; the API has it for authorities"},
	{re(`^invalid .*-(: |listener \S+: )Programmed=True Programmed$`), "Istio calls listeners programmed that are not valid, and Gateways without a valid one"},
	{re(`^(invalid|isolation|multi-gateway|serviceentry|tls-terminate|listenerset-invalid) .*[-+]: Programmed=(False AddressNotUsable|True Programmed)$`), "the Service that spec.addresses names need not have the listener's port: gateways here open it; Istio's automatic deployments have a Service of their own name"},
	{re(`[-+]listener \S+: Programmed=(True Programmed|False Pending)$`), "listeners of a Gateway that is served nowhere are not programmed here"},
	{re(`[-+]: Programmed=False (UnsupportedAddress|AddressNotUsable)$`), "UnsupportedAddress is no reason of Programmed in the API"},
	{re(`^(http|reference-policy-inferencepool) HTTPRoute/\S+ [-+].*ResolvedRefs=(True ResolvedRefs|False (InvalidKind|BackendNotFound|RefNotPermitted))$`), "inference pools are no backends of Weft's"},
	{re(`^(mcs TCPRoute|invalid HTTPRoute/default/invalid-backendref-serviceimport)`), "ServiceImports are no backends of Weft's"},
	{re(`^invalid HTTPRoute/default/invalid-backendref-mixed`), "one reference leads nowhere and one is of another kind: either reason is right"},
	{re(`^mix-backend-policy BackendTLSPolicy/default/tls-upstream-echo-extra`), "two policies for one Service are a conflict by the API: the older one holds"},
	{re(`^backend-tls-policy BackendTLSPolicy/\S+ [-+](ServiceEntry|Gateway) `), "BackendTLSPolicies for other targets than Services are refused by name"},
	{re(`^frontend-tls-invalid .*-: Programmed=True`), "a Gateway without a valid listener is not programmed here"},
	{re(`^gateway-invalid-parameters-ref `), "spec.infrastructure is of what Kubernetes would create, and is not read"},
	{re(`^invalid \S+/udp-protocol `), "Weft carries out UDP"},
	{re(`^invalid \S+/invalid-frontendvalidation-malformed `), "two authorities for client certificates are refused"},
	{re(`^listenerset-(empty-listeners|overlapping-port|https-missing-tls) `), "Gateways without listeners, and HTTPS without certificates, are refused, as is what belongs to them"},
	{re(`^listenerset-invalid ListenerSet/istio-system/(invalid-class|not-accepted-parent) `), "a ListenerSet of a Gateway that is refused, or not ours, has no status"},
	{re(`^listenerset-invalid Gateway\S+/waypoint `), "waypoints are Istio's ambient mode"},
	{re(`^route-binding HTTPRoute/default/same-namespace-invalid `), "a listener that takes no routes of the namespace, for another host as well: either reason is right"},
	{re(`^status .*dummy=True dummy$`), "the status that was there before is merged by who writes it"},
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }
