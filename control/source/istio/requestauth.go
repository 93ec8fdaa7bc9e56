package istio

import (
	"net/url"
	"strings"

	securitypb "istio.io/api/security/v1beta1"
	typepb "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/jwks"
)

func convertRequestAuthentication(d *document.Document) []model.Object {
	ra := &securitypb.RequestAuthentication{}
	if !d.Message("spec", d.Spec(), ra) {
		return nil
	}
	out := &model.RequestAuth{
		Meta: d.Meta, Selector: selector(d, ra.GetSelector()),
		Targets: targets(d, ra),
	}
	for i, r := range ra.GetJwtRules() {
		out.Rules = append(out.Rules, jwtRule(d, document.At("spec.jwtRules", i), r))
	}
	return []model.Object{out}
}

// targeted is a policy that may be attached to something.
type targeted interface {
	GetSelector() *typepb.WorkloadSelector
	GetTargetRef() *typepb.PolicyTargetReference
	GetTargetRefs() []*typepb.PolicyTargetReference
}

// allowedTargets are the kinds that Istio lets a policy be attached to, by group.
var allowedTargets = map[string]string{
	"Gateway": gatewayAPI, "GatewayClass": gatewayAPI, "Service": "", "ServiceEntry": "networking.istio.io",
}

const gatewayAPI = "gateway.networking.k8s.io"

// targets reads targetRefs and the older targetRef.
func targets(d *document.Document, p targeted) []model.TargetRef {
	list, at := p.GetTargetRefs(), func(i int) string { return document.At("spec.targetRefs", i) }
	given := 0
	for _, set := range []bool{p.GetSelector() != nil, p.GetTargetRef() != nil, len(list) > 0} {
		if set {
			given++
		}
	}
	if given > 1 {
		d.Invalid("spec", "keep one of selector and targetRefs", "has selector and targetRefs, or both forms of targetRefs")
	}
	if len(list) == 0 && p.GetTargetRef() != nil {
		list, at = []*typepb.PolicyTargetReference{p.GetTargetRef()}, func(int) string { return "spec.targetRef" }
	}
	var out []model.TargetRef
	for i, r := range list {
		group := r.GetGroup()
		if group == "core" {
			group = ""
		}
		want, ok := allowedTargets[r.GetKind()]
		switch {
		case r.GetName() == "":
			d.Error(document.CodeMissing, at(i)+".name", "name the "+r.GetKind(), "is missing")
		case r.GetNamespace() != "" && r.GetNamespace() != d.Key.Namespace:
			d.Invalid(at(i)+".namespace", "put the policy into that namespace", "a target is in the policy's own namespace")
		case !ok || group != want:
			d.Invalid(at(i)+".kind", "use Gateway of "+gatewayAPI, "%q of group %q cannot be a target", r.GetKind(), r.GetGroup())
		case r.GetKind() != "Gateway":
			d.Warn(document.CodeIgnored, at(i)+".kind", "use selector", "a target of kind %s is for waypoints only: nothing here goes by it", r.GetKind())
		}
		out = append(out, model.TargetRef{Group: group, Kind: r.GetKind(), Name: r.GetName()})
	}
	return out
}

func jwtRule(d *document.Document, at string, p *securitypb.JWTRule) model.JWTRule {
	out := model.JWTRule{
		Issuer: p.GetIssuer(), Audiences: p.GetAudiences(), JWKS: p.GetJwks(), JWKSURI: p.GetJwksUri(),
		FromParams: p.GetFromParams(), FromCookies: p.GetFromCookies(), PayloadHeader: p.GetOutputPayloadToHeader(),
		Forward: p.GetForwardOriginalToken(), Timeout: p.GetTimeout().AsDuration(), SpaceDelimited: p.GetSpaceDelimitedClaims(),
	}
	if out.Issuer == "" && out.JWKSURI == "" {
		d.Error(document.CodeMissing, at+".issuer", "name who issues the tokens, or a jwksUri", "is missing")
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"audiences", out.Audiences}, {"fromParams", out.FromParams}, {"fromCookies", out.FromCookies}, {"spaceDelimitedClaims", out.SpaceDelimited}} {
		for i, v := range f.list {
			if v == "" {
				d.Invalid(document.At(at+"."+f.name, i), "remove it", "is empty")
			}
		}
	}
	if out.JWKSURI != "" {
		if u, err := url.Parse(out.JWKSURI); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			d.Invalid(at+".jwksUri", "write https://host/path", "%q is no http or https address", out.JWKSURI)
		}
	}
	switch {
	case out.JWKS != "":
		inlineKeys(d, at+".jwks", out.JWKS)
	case out.JWKSURI == "" && out.Issuer != "":
		if u, err := url.Parse(out.Issuer); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			d.Warn(document.CodeMissing, at+".jwksUri", "add jwksUri or jwks", "is missing, and the issuer %q is no address to ask: every token of it is refused", out.Issuer)
		}
	}
	for i, h := range p.GetFromHeaders() {
		checkHeaderName(d, document.At(at+".fromHeaders", i)+".name", h.GetName())
		out.FromHeaders = append(out.FromHeaders, model.JWTHeader{Name: h.GetName(), Prefix: h.GetPrefix()})
	}
	if out.PayloadHeader != "" {
		checkHeaderName(d, at+".outputPayloadToHeader", out.PayloadHeader)
	}
	for i, c := range p.GetOutputClaimToHeaders() {
		field := document.At(at+".outputClaimToHeaders", i)
		if c.GetClaim() == "" {
			d.Error(document.CodeMissing, field+".claim", "name a claim of the token", "is missing")
		}
		checkHeaderName(d, field+".header", c.GetHeader())
		if strings.HasPrefix(c.GetHeader(), ":") {
			d.Invalid(field+".header", "use a header of the program's", "%q is part of the request line", c.GetHeader())
		}
		out.ClaimHeaders = append(out.ClaimHeaders, model.ClaimHeader{Header: c.GetHeader(), Claim: c.GetClaim()})
	}
	if out.Timeout < 0 {
		d.Invalid(at+".timeout", "", "must not be negative, got %v", out.Timeout)
	}
	return out
}

// inlineKeys judges a key set that is written into the rule.
func inlineKeys(d *document.Document, field, text string) {
	usable, problems, err := jwks.Check(text)
	if err != nil {
		d.Invalid(field, `write {"keys": [...]}`, "%v", err)
		return
	}
	for _, p := range problems {
		d.Warn(document.CodeValue, field, "write public keys of type RSA, EC or OKP", "%s", p)
	}
	if usable == 0 {
		d.Invalid(field, `write {"keys": [...]}`, "has no key that can be used")
	}
}
