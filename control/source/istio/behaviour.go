package istio

import (
	"slices"
	"strconv"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// retryConditions are Envoy's, for HTTP and gRPC.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// Retry converts a retry policy; nil when there is none.
func Retry(d *document.Document, at string, p *networkingpb.HTTPRetry) *model.Retry {
	if p == nil {
		return nil
	}
	r := &model.Retry{
		Attempts: int(p.GetAttempts()), PerTryTimeout: duration(d, at+".perTryTimeout", p.GetPerTryTimeout()),
		On: strings.ReplaceAll(p.GetRetryOn(), " ", ""), Backoff: duration(d, at+".backoff", p.GetBackoff()),
	}
	if v := p.GetRetryRemoteLocalities(); v != nil {
		r.RemoteLocalities = new(v.GetValue())
	}
	if v := p.GetRetryIgnorePreviousHosts(); v != nil {
		r.IgnorePreviousHosts = new(v.GetValue())
	}
	if r.Attempts == 0 && (r.On != "" || r.PerTryTimeout != 0) {
		d.Warn(document.CodeValue, at, "write e.g. attempts: 2", "attempts is 0: nothing is retried")
	}
	if r.On == "" {
		return r // what is retried on then is the same as without a policy
	}
	for word := range strings.SplitSeq(r.On, ",") {
		code, err := strconv.Atoi(word)
		if err == nil && (code < 100 || code > 599) {
			d.Invalid(at+".retryOn", "", "%q is not an HTTP status", word)
		}
		if err != nil && !slices.Contains(retryConditions, word) {
			d.Invalid(at+".retryOn", document.Suggest(word, retryConditions), "%q is not a retry condition", word)
		}
	}
	return r
}

// grpcStatuses are the names of gRPC's codes that an abort may answer with.
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

func fault(d *document.Document, at string, p *networkingpb.HTTPFaultInjection) *model.Fault {
	if p == nil {
		return nil
	}
	f := &model.Fault{}
	// What Istio has no way to carry out injects nothing, there as here.
	if p.GetDelay().GetExponentialDelay() != nil {
		d.Warn(document.CodeIgnored, at+".delay.exponentialDelay", "use fixedDelay", "injects nothing, in Istio neither")
	} else if del := p.GetDelay(); del != nil {
		f.Delay = duration(d, at+".delay.fixedDelay", del.GetFixedDelay())
		if del.GetFixedDelay() == nil && !d.Bad() {
			d.Error(document.CodeMissing, at+".delay.fixedDelay", "write e.g. fixedDelay: 5s", "is missing")
		}
		if del.GetPercentage() != nil || del.GetPercent() == 0 { //nolint:staticcheck // users still write it
			f.DelayPercent = faultShare(d, at+".delay", del.GetPercentage())
		} else {
			f.DelayPercent = float64(del.GetPercent()) //nolint:staticcheck // users still write it
			d.Warn(document.CodeOlder, at+".delay.percent", "write percentage: {value: …}", "is deprecated")
		}
	}
	if a := p.GetAbort(); a != nil {
		f.AbortPercent = faultShare(d, at+".abort", a.GetPercentage())
		switch t := a.GetErrorType().(type) {
		case *networkingpb.HTTPFaultInjection_Abort_HttpStatus:
			f.AbortHTTP = int(t.HttpStatus)
		case *networkingpb.HTTPFaultInjection_Abort_GrpcStatus:
			f.AbortGRPC = strings.ToUpper(t.GrpcStatus)
			if !slices.Contains(grpcStatuses, f.AbortGRPC) {
				d.Invalid(at+".abort.grpcStatus", document.Suggest(f.AbortGRPC, grpcStatuses), "%q is not a gRPC status", t.GrpcStatus)
			}
		case *networkingpb.HTTPFaultInjection_Abort_Http2Error:
			f.AbortPercent = 0
			d.Warn(document.CodeIgnored, at+".abort.http2Error", "use httpStatus", "injects nothing, in Istio neither")
		default:
			d.Error(document.CodeMissing, at+".abort", "add httpStatus or grpcStatus", "says nothing about the answer")
		}
	}
	if p.GetDelay() == nil && p.GetAbort() == nil {
		d.Error(document.CodeMissing, at, "add delay or abort", "injects nothing")
	}
	return f
}

// faultShare reads the percentage of a fault; absent means none, as in Istio.
func faultShare(d *document.Document, at string, p *networkingpb.Percent) float64 {
	if p == nil {
		d.Warn(document.CodeMissing, at+".percentage", "write percentage: {value: 100} for every request", "is missing: no request is affected")
		return 0
	}
	return share(d, at+".percentage", p)
}

// share reads a percentage; absent means all.
func share(d *document.Document, at string, p *networkingpb.Percent) float64 {
	if p == nil {
		return 100
	}
	if v := p.GetValue(); v < 0 || v > 100 {
		d.Invalid(at+".value", "", "must be a number from 0 to 100, got %v", v)
	}
	return p.GetValue()
}

func mirrors(d *document.Document, at string, p *networkingpb.HTTPRoute) []model.Mirror {
	var out []model.Mirror
	if p.GetMirror() != nil {
		m := model.Mirror{
			Destination: destination(d, at+".mirror", p.GetMirror()),
			Percent:     share(d, at+".mirrorPercentage", p.GetMirrorPercentage()),
		}
		if old := p.GetMirrorPercent(); old != nil && p.GetMirrorPercentage() == nil { //nolint:staticcheck // users still write it
			m.Percent = float64(min(old.GetValue(), 100))
			d.Warn(document.CodeOlder, at+".mirrorPercent", "write mirrorPercentage: {value: …}", "is deprecated")
		}
		out = append(out, m)
	} else if p.GetMirrorPercentage() != nil {
		d.Error(document.CodeMissing, at+".mirror", "name a destination", "is missing beside mirrorPercentage")
	}
	for i, m := range p.GetMirrors() {
		mat := document.At(at+".mirrors", i)
		out = append(out, model.Mirror{
			Destination: destination(d, mat+".destination", m.GetDestination()),
			Percent:     share(d, mat+".percentage", m.GetPercentage()),
		})
	}
	if p.GetMirror() != nil && len(p.GetMirrors()) > 0 {
		d.Invalid(at, "move mirror into mirrors", "only one of mirror, mirrors may be set")
	}
	return out
}

func cors(d *document.Document, at string, p *networkingpb.CorsPolicy) *model.CORS {
	if p == nil {
		return nil
	}
	c := &model.CORS{
		AllowMethods: p.GetAllowMethods(), AllowHeaders: p.GetAllowHeaders(), ExposeHeaders: p.GetExposeHeaders(),
		MaxAge: duration(d, at+".maxAge", p.GetMaxAge()),
	}
	for i, o := range p.GetAllowOrigins() {
		c.AllowOrigins = append(c.AllowOrigins, condition(d, document.At(at+".allowOrigins", i), o, model.AttrHeader, "origin"))
	}
	for i, o := range p.GetAllowOrigin() { //nolint:staticcheck // users still write it
		d.Warn(document.CodeOlder, document.At(at+".allowOrigin", i), "write allowOrigins: [{exact: …}]", "is deprecated")
		cond := model.Condition{Attr: model.AttrHeader, Name: "origin", Value: o}
		if o == "*" {
			cond = model.Condition{Attr: model.AttrHeader, Name: "origin", Op: model.Present}
		}
		c.AllowOrigins = append(c.AllowOrigins, cond)
	}
	for i, m := range c.AllowMethods {
		if m != strings.ToUpper(m) {
			d.Invalid(document.At(at+".allowMethods", i), "write "+strings.ToUpper(m), "methods are in upper case, got %q", m)
		}
	}
	if v := p.GetAllowCredentials(); v != nil {
		c.AllowCredentials = new(v.GetValue())
	}
	switch p.GetUnmatchedPreflights() {
	case networkingpb.CorsPolicy_FORWARD:
		c.ForwardUnmatchedPreflights = new(true)
	case networkingpb.CorsPolicy_IGNORE:
		c.ForwardUnmatchedPreflights = new(false)
	}
	return c
}
