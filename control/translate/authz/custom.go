package authz

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	authzhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	rbachttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	authznetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	rbacnetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

const (
	// customShadow begins the metadata in which the RBAC filter notes a rule.
	customShadow = "istio_ext_authz_"
	// unaskable ends the names of rules whose service cannot be asked.
	unaskable = "-deny-due-to-bad-CUSTOM-action"
	// defaultCheck is how long Istio waits for a service.
	defaultCheck = 600 * time.Second

	extAuthzHTTP = "envoy.filters.http.ext_authz"
	extAuthzTCP  = "envoy.filters.network.ext_authz"
)

// customPrefix begins the names of all rules of one provider: ext_authz asks when
// the rule that was noted has it.
func customPrefix(provider string) string { return "istio-ext-authz-" + provider + "-" }

// custom makes the filters of CUSTOM policies, provider by provider: each one
// whose rules match has to let a request pass. Those of a dry run only note that
// the service would have been asked.
func (b *builder) custom() []Filter {
	rules := map[string]*rbacv3.RBAC{}
	owner := map[string]*model.Authz{}
	tried := &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}}
	for _, p := range b.v.Authz() {
		if p.Action != model.Custom {
			continue
		}
		policies := b.translator(p).policies()
		if p.DryRun {
			maps.Copy(tried.Policies, policies)
			continue
		}
		for name, policy := range policies {
			if rules[p.Provider] == nil {
				rules[p.Provider] = &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}}
				owner[p.Provider] = p
			}
			rules[p.Provider].Policies[name] = policy
		}
	}
	var out []Filter
	if len(tried.Policies) > 0 {
		out = append(out, b.shadow(tried, dryRunCustom))
	}
	for _, name := range pb.Keys(rules) {
		provider, cluster := b.provider(owner[name])
		switch {
		case provider == nil:
			// Nobody can be asked, and an open door would be worse than a closed one.
			closed := &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}}
			for rule, p := range rules[name].Policies {
				closed.Policies[rule+unaskable] = p
			}
			if b.tcp {
				out = append(out, Filter{tcpRBAC, &rbacnetv3.RBAC{Rules: closed, StatPrefix: tcpPrefix}})
			} else {
				out = append(out, Filter{httpRBAC, &rbachttpv3.RBAC{Rules: closed}})
			}
		case b.tcp && provider.GRPC:
			out = append(out,
				b.shadow(rules[name], customShadow),
				Filter{extAuthzTCP, checkTCP(provider, cluster)})
		case !b.tcp:
			out = append(out,
				b.shadow(rules[name], customShadow),
				Filter{extAuthzHTTP, checkHTTP(provider, cluster)})
		}
		// A service that speaks HTTP is not asked about connections, as in Istio.
	}
	return out
}

// shadow is a filter that only notes which rule matches.
func (b *builder) shadow(rules *rbacv3.RBAC, prefix string) Filter {
	if b.tcp {
		return Filter{tcpRBAC, &rbacnetv3.RBAC{ShadowRules: rules, StatPrefix: tcpPrefix, ShadowRulesStatPrefix: prefix}}
	}
	return Filter{httpRBAC, &rbachttpv3.RBAC{ShadowRules: rules, ShadowRulesStatPrefix: prefix}}
}

// provider finds the service that a policy names, and the cluster that leads to it;
// nil when there is none.
func (b *builder) provider(p *model.Authz) (*model.ExtAuthz, string) {
	t := b.translator(p)
	fail := func(field, message, remedy string) (*model.ExtAuthz, string) {
		t.finding(CodeProvider, model.Error, field, message+": what the policy matches is denied", remedy)
		return nil, ""
	}
	x := b.v.Mesh.ExtAuthz(p.Provider)
	if x == nil {
		var names []string
		for i := range b.v.Mesh.Authorizers {
			names = append(names, b.v.Mesh.Authorizers[i].Name)
		}
		remedy := "add it to extensionProviders of the mesh configuration, with envoyExtAuthzHttp or envoyExtAuthzGrpc"
		if len(names) > 0 {
			remedy = "there are " + strings.Join(names, ", ")
		}
		return fail("spec.provider.name", "the mesh has no extension provider "+strconv.Quote(p.Provider)+" that authorizes", remedy)
	}
	s := b.v.Service(x.Service)
	if s == nil {
		return fail("spec.provider.name", "the provider's service "+x.Service+" is not visible to "+b.v.Proxy.Namespace(),
			"create the Service or ServiceEntry, or admit it in the Sidecar resource")
	}
	if s.Port(x.Port) == nil {
		return fail("spec.provider.name", "the provider's service "+x.Service+" has no port "+strconv.Itoa(int(x.Port)), "correct the provider's port")
	}
	return x, wire.ClusterName(wire.Outbound, x.Port, "", x.Service)
}

// marked is true for what a rule of the provider matched.
func marked(filter, provider string) *matcherv3.MetadataMatcher {
	return pb.MetadataMatch(filter, []string{customShadow + "shadow_effective_policy_id"}, pb.StringValue(pb.Prefix(customPrefix(provider))))
}

func checkTimeout(x *model.ExtAuthz) time.Duration {
	if x.Timeout > 0 {
		return x.Timeout
	}
	return defaultCheck
}

func grpcService(x *model.ExtAuthz, cluster string) *corev3.GrpcService {
	g := pb.GRPC(cluster)
	g.GetEnvoyGrpc().Authority = x.Service
	g.Timeout = pb.Duration(checkTimeout(x))
	return g
}

func checkTCP(x *model.ExtAuthz, cluster string) *authznetv3.ExtAuthz {
	return &authznetv3.ExtAuthz{
		StatPrefix: tcpPrefix, FailureModeAllow: x.FailOpen, TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService: grpcService(x, cluster), FilterEnabledMetadata: marked(tcpRBAC, x.Name),
	}
}

func checkHTTP(x *model.ExtAuthz, cluster string) *authzhttpv3.ExtAuthz {
	out := &authzhttpv3.ExtAuthz{
		FailureModeAllow: x.FailOpen, TransportApiVersion: corev3.ApiVersion_V3, ClearRouteCache: x.ClearRouteCache,
		FilterEnabledMetadata: marked(httpRBAC, x.Name),
	}
	if x.StatusOnError != 0 {
		out.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(x.StatusOnError)}
	}
	if b := x.Body; b != nil {
		out.WithRequestBody = &authzhttpv3.BufferSettings{MaxRequestBytes: b.MaxBytes, AllowPartialMessage: b.Partial, PackAsBytes: b.AsBytes}
	}
	if x.GRPC {
		out.Services = &authzhttpv3.ExtAuthz_GrpcService{GrpcService: grpcService(x, cluster)}
		return out
	}
	h := &authzhttpv3.HttpService{
		PathPrefix: x.PathPrefix,
		ServerUri: &corev3.HttpUri{
			Uri: "http://" + x.Service, Timeout: pb.Duration(checkTimeout(x)),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		},
	}
	out.AllowedHeaders = headerNames(x.RequestHeaders)
	if len(x.AddHeaders) > 0 {
		h.AuthorizationRequest = &authzhttpv3.AuthorizationRequest{}
		for _, k := range pb.Keys(x.AddHeaders) {
			h.AuthorizationRequest.HeadersToAdd = append(h.AuthorizationRequest.HeadersToAdd, &corev3.HeaderValue{Key: k, Value: x.AddHeaders[k]})
		}
	}
	if len(slices.Concat(x.UpstreamOnAllow, x.DownstreamOnDeny, x.DownstreamOK)) > 0 {
		h.AuthorizationResponse = &authzhttpv3.AuthorizationResponse{
			AllowedUpstreamHeaders:        headerNames(x.UpstreamOnAllow),
			AllowedClientHeaders:          headerNames(x.DownstreamOnDeny),
			AllowedClientHeadersOnSuccess: headerNames(x.DownstreamOK),
		}
	}
	out.Services = &authzhttpv3.ExtAuthz_HttpService{HttpService: h}
	return out
}

// headerNames matches names of headers, of which case does not count.
func headerNames(list []string) *matcherv3.ListStringMatcher {
	if len(list) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, v := range list {
		m := pattern(v, "")
		m.IgnoreCase = true
		out.Patterns = append(out.Patterns, m)
	}
	return out
}
