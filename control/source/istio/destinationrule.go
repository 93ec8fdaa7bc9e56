package istio

import (
	"net/netip"
	"slices"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertDestinationRule(d *document.Document) []model.Object {
	dr := &networkingpb.DestinationRule{}
	if !d.Message("spec", d.Spec(), dr) {
		return nil
	}
	if dr.GetHost() == "" {
		d.Error(document.CodeMissing, "spec.host", "name the service the rule is for", "is missing")
	} else {
		d.Host("spec.host", dr.GetHost(), true)
	}
	out := &model.TrafficPolicySet{
		Meta: d.Meta, Host: document.FQDN(dr.GetHost(), d.Key.Namespace, Domain),
		Exports: d.Visibility("spec.exportTo", dr.GetExportTo()),
		Policy:  trafficPolicy(d, "spec.trafficPolicy", dr.GetTrafficPolicy()),
	}
	if ws := dr.GetWorkloadSelector(); ws != nil {
		out.Selector = ws.GetMatchLabels()
		d.CheckLabels("spec.workloadSelector.matchLabels", out.Selector)
	}
	seen := map[string]bool{}
	for i, s := range dr.GetSubsets() {
		at := document.At("spec.subsets", i)
		switch {
		case s.GetName() == "":
			d.Error(document.CodeMissing, at+".name", "name the subset", "is missing")
		case !document.IsLabel(s.GetName()) && !document.IsSubdomain(s.GetName()):
			d.Invalid(at+".name", "use lower-case letters, digits and '-'", "%q is not a valid name", s.GetName())
		case seen[s.GetName()]:
			d.Invalid(at+".name", "give each subset a name of its own", "%q is used twice", s.GetName())
		}
		seen[s.GetName()] = true
		d.CheckLabels(at+".labels", s.GetLabels())
		out.Subsets = append(out.Subsets, model.Subset{
			Name: s.GetName(), Labels: s.GetLabels(), Policy: trafficPolicy(d, at+".trafficPolicy", s.GetTrafficPolicy()),
		})
	}
	return []model.Object{out}
}

func trafficPolicy(d *document.Document, at string, p *networkingpb.TrafficPolicy) model.TrafficPolicy {
	out := model.TrafficPolicy{
		LB:      loadBalancer(d, at+".loadBalancer", p.GetLoadBalancer()),
		Pool:    connectionPool(d, at+".connectionPool", p.GetConnectionPool()),
		Outlier: outlier(d, at+".outlierDetection", p.GetOutlierDetection()),
		TLS:     clientTLS(d, at+".tls", p.GetTls()),
	}
	out.RetryBudget = retryBudget(d, at+".retryBudget", p.GetRetryBudget())
	out.Tunnel = tunnel(d, at+".tunnel", p.GetTunnel())
	if pp := p.GetProxyProtocol(); pp != nil {
		out.ProxyProtocol = int(pp.GetVersion()) + 1
	}
	for i, pl := range p.GetPortLevelSettings() {
		pat := document.At(at+".portLevelSettings", i)
		n := uint16(pl.GetPort().GetNumber())
		if n == 0 {
			d.Error(document.CodeMissing, pat+".port.number", "write the number of the service's port", "is missing")
			continue
		}
		if _, dup := out.Ports[n]; dup {
			d.Invalid(pat+".port.number", "keep one", "port %d has settings twice", n)
		}
		if out.Ports == nil {
			out.Ports = map[uint16]model.TrafficPolicy{}
		}
		out.PortOrder = append(out.PortOrder, n)
		out.Ports[n] = model.TrafficPolicy{
			LB:      loadBalancer(d, pat+".loadBalancer", pl.GetLoadBalancer()),
			Pool:    connectionPool(d, pat+".connectionPool", pl.GetConnectionPool()),
			Outlier: outlier(d, pat+".outlierDetection", pl.GetOutlierDetection()),
			TLS:     clientTLS(d, pat+".tls", pl.GetTls()),
		}
	}
	return out
}

func loadBalancer(d *document.Document, at string, p *networkingpb.LoadBalancerSettings) *model.LoadBalancer {
	if p == nil {
		return nil
	}
	out := &model.LoadBalancer{
		Locality: LocalityLB(d, at+".localityLbSetting", p.GetLocalityLbSetting()),
		Zone:     zoneLB(d, at+".zoneAwareLbSetting", p.GetZoneAwareLbSetting()),
		Warmup:   duration(d, at+".warmupDurationSecs", p.GetWarmupDurationSecs()),
	}
	if out.Zone != nil && out.Locality != nil {
		d.Invalid(at+".zoneAwareLbSetting", "keep one", "excludes localityLbSetting")
	}
	if w := p.GetWarmup(); w != nil {
		out.Warmup = duration(d, at+".warmup.duration", w.GetDuration())
		if w.GetDuration() == nil {
			d.Error(document.CodeMissing, at+".warmup.duration", "write e.g. 30s", "is missing")
		}
		if v := w.GetMinimumPercent(); v != nil {
			out.WarmupPercent = new(v.GetValue())
			if v.GetValue() < 0 || v.GetValue() > 100 {
				d.Invalid(at+".warmup.minimumPercent", "", "must be from 0 to 100, got %v", v.GetValue())
			}
		}
		if v := w.GetAggression(); v != nil {
			out.WarmupAggression = new(v.GetValue())
			if v.GetValue() < 1 {
				d.Invalid(at+".warmup.aggression", "1 is linear, more begins slower", "must be 1 or more, got %v", v.GetValue())
			}
		}
	}
	switch p.GetSimple() {
	case networkingpb.LoadBalancerSettings_ROUND_ROBIN:
		out.Algorithm = model.RoundRobin
	case networkingpb.LoadBalancerSettings_RANDOM:
		out.Algorithm = model.Random
	case networkingpb.LoadBalancerSettings_PASSTHROUGH:
		out.Algorithm = model.LBPassthrough
	}
	if h := p.GetConsistentHash(); h != nil {
		out.Algorithm = model.ConsistentHash
		out.Hash = hash(d, at+".consistentHash", h)
	}
	return out
}

// maglevMax is the largest table that Envoy makes.
const maglevMax = 5000011

func hash(d *document.Document, at string, p *networkingpb.LoadBalancerSettings_ConsistentHashLB) *model.Hash {
	out := &model.Hash{MinRing: p.GetMinimumRingSize()} //nolint:staticcheck // users still write it
	switch k := p.GetHashKey().(type) {
	case *networkingpb.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		out.Header = k.HttpHeaderName
		checkHeaderName(d, at+".httpHeaderName", out.Header)
	case *networkingpb.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		out.Cookie = &model.HashCookie{Name: k.HttpCookie.GetName(), Path: k.HttpCookie.GetPath()}
		if out.Cookie.Name == "" {
			d.Error(document.CodeMissing, at+".httpCookie.name", "name the cookie", "is missing")
		}
		if ttl := k.HttpCookie.GetTtl(); ttl != nil {
			out.Cookie.TTL = new(ttl.AsDuration())
		}
		for i, a := range k.HttpCookie.GetAttributes() {
			if a.GetName() == "" {
				d.Error(document.CodeMissing, document.At(at+".httpCookie.attributes", i)+".name", "write e.g. SameSite", "is missing")
			}
			out.Cookie.Attributes = append(out.Cookie.Attributes, [2]string{a.GetName(), a.GetValue()})
		}
	case *networkingpb.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		out.SourceIP = k.UseSourceIp
	case *networkingpb.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		out.Query = k.HttpQueryParameterName
	}
	if out.Header == "" && out.Cookie == nil && !out.SourceIP && out.Query == "" {
		d.Error(document.CodeMissing, at, "add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName", "does not say what to hash")
	}
	if r := p.GetRingHash(); r != nil && r.GetMinimumRingSize() != 0 {
		out.MinRing = r.GetMinimumRingSize()
	}
	if m := p.GetMaglev(); m != nil {
		out.Maglev, out.MinRing = true, m.GetTableSize()
		if n := m.GetTableSize(); n != 0 && (n > maglevMax || !prime(n)) {
			d.Invalid(at+".maglev.tableSize", "write e.g. 65537", "must be a prime number up to %d, got %d", maglevMax, n)
		}
	}
	return out
}

func prime(n uint64) bool {
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return n > 1
}

// LocalityLB converts locality settings; nil when there are none.
func LocalityLB(d *document.Document, at string, p *networkingpb.LocalityLoadBalancerSetting) *model.LocalityLB {
	if p == nil {
		return nil
	}
	out := &model.LocalityLB{Enabled: p.GetEnabled() == nil || p.GetEnabled().GetValue(), Priority: p.GetFailoverPriority()}
	for i, s := range p.GetDistribute() {
		sat := document.At(at+".distribute", i)
		var sum uint32
		for _, v := range s.GetTo() {
			sum += v
		}
		if sum != 100 {
			d.Invalid(sat+".to", "let the shares add up to 100", "the shares add up to %d", sum)
		}
		out.Distribute = append(out.Distribute, model.LocalityShare{From: s.GetFrom(), To: s.GetTo()})
	}
	for i, f := range p.GetFailover() {
		if f.GetFrom() == f.GetTo() {
			d.Invalid(document.At(at+".failover", i), "name another region", "%q fails over to itself", f.GetFrom())
		}
		out.Failover = append(out.Failover, model.LocalityFailover{From: f.GetFrom(), To: f.GetTo()})
	}
	if len(out.Distribute) > 0 && len(out.Failover)+len(out.Priority) > 0 {
		d.Invalid(at, "keep one", "only one of distribute, failover or failoverPriority may be set")
	}
	return out
}

// topologyLabels are of what zoneAwareLbSetting looks at by itself.
var topologyLabels = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}

// zoneLB converts settings of zones; nil when there are none.
func zoneLB(d *document.Document, at string, p *networkingpb.ZoneAwareLoadBalancerSetting) *model.ZoneLB {
	if p == nil {
		return nil
	}
	out := &model.ZoneLB{
		Enabled: p.GetEnabled() == nil || p.GetEnabled().GetValue(), Priority: p.GetFailoverPriority(), MinSize: p.GetMinClusterSize().GetValue(),
	}
	for i, l := range out.Priority {
		if name, _, _ := strings.Cut(l, "="); slices.Contains(topologyLabels, name) {
			d.Invalid(document.At(at+".failoverPriority", i), "remove it", "%q is looked at without being named", name)
		}
	}
	for i, f := range p.GetFailover() {
		fat := document.At(at+".failover", i)
		switch {
		case f.GetFrom() == f.GetTo():
			d.Invalid(fat, "name another region", "%q fails over to itself", f.GetFrom())
		case strings.ContainsAny(f.GetFrom()+f.GetTo(), "/*"):
			d.Invalid(fat, "write a region, e.g. eu-west", "%q to %q: both are names of regions only", f.GetFrom(), f.GetTo())
		}
		out.Failover = append(out.Failover, model.LocalityFailover{From: f.GetFrom(), To: f.GetTo()})
	}
	return out
}

func outlier(d *document.Document, at string, p *networkingpb.OutlierDetection) *model.Outlier {
	if p == nil {
		return nil
	}
	out := &model.Outlier{
		SplitExternalLocal: p.GetSplitExternalLocalOriginErrors(),
		Interval:           duration(d, at+".interval", p.GetInterval()),
		BaseEjection:       duration(d, at+".baseEjectionTime", p.GetBaseEjectionTime()),
		MaxEjectionPercent: uint32(p.GetMaxEjectionPercent()),
		MinHealthPercent:   uint32(p.GetMinHealthPercent()),
		HTTPCodes:          p.GetOutlierDetectionHttpErrorCodes(),
	}
	if v := p.GetConsecutiveLocalOriginFailures(); v != nil {
		out.ConsecutiveLocal = new(v.GetValue())
		if !out.SplitExternalLocal {
			d.Warn(document.CodeIgnored, at+".consecutiveLocalOriginFailures", "set splitExternalLocalOriginErrors: true", "has no effect")
		}
	}
	if v := p.GetConsecutiveGatewayErrors(); v != nil {
		out.ConsecutiveGateway = new(v.GetValue())
	}
	if v := p.GetConsecutive_5XxErrors(); v != nil {
		out.Consecutive5xx = new(v.GetValue())
	}
	return out
}

func retryBudget(d *document.Document, at string, p *networkingpb.TrafficPolicy_RetryBudget) *model.RetryBudget {
	if p == nil {
		return nil
	}
	out := &model.RetryBudget{MinConcurrency: p.GetMinRetryConcurrency(), Interval: duration(d, at+".budgetInterval", p.GetBudgetInterval())}
	if v := p.GetPercent(); v != nil {
		out.Percent = new(v.GetValue())
		if v.GetValue() < 0 || v.GetValue() > 100 {
			d.Invalid(at+".percent", "", "must be from 0 to 100, got %v", v.GetValue())
		}
	}
	return out
}

func tunnel(d *document.Document, at string, p *networkingpb.TrafficPolicy_TunnelSettings) *model.Tunnel {
	if p == nil {
		return nil
	}
	out := &model.Tunnel{Host: p.GetTargetHost(), Port: uint16(p.GetTargetPort()), Post: p.GetProtocol() == "POST"}
	if out.Host == "" {
		d.Error(document.CodeMissing, at+".targetHost", "name the host to connect to", "is missing")
	} else if _, err := netip.ParseAddr(out.Host); err != nil {
		d.Host(at+".targetHost", out.Host, false)
	}
	if n := p.GetTargetPort(); n < 1 || n > 65535 {
		d.Invalid(at+".targetPort", "", "must be an integer from 1 to 65535, got %d", n)
	}
	if v := p.GetProtocol(); v != "" && v != "CONNECT" && v != "POST" {
		d.Invalid(at+".protocol", "write CONNECT or POST", "%q is not a way to tunnel", v)
	}
	return out
}
