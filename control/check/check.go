// Package check finds what is wrong across objects: references that lead
// nowhere, objects that exclude one another, rules that can never apply.
//
// It is a pure function of a snapshot. It changes nothing and stops nothing:
// every object stays in force as far as it goes. What one document alone shows
// is the front ends' (control/source); whether a program exists and answers is
// the supervisor's.
package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
)

// Codes of the Findings of this package.
const (
	CodeHost      = "WEFT0201" // destination host unknown
	CodeSubset    = "WEFT0202" // subset unknown
	CodePort      = "WEFT0203" // port unknown or undecided
	CodeGateway   = "WEFT0204" // gateway unknown
	CodeSecret    = "WEFT0205" // secret unknown or unfit
	CodeAccount   = "WEFT0206" // service account unknown
	CodeDelegate  = "WEFT0207" // delegate unknown or unused
	CodeTaken     = "WEFT0208" // two objects claim the same
	CodeNothing   = "WEFT0209" // selects nothing
	CodeWeights   = "WEFT0210" // weights do not add up to 100
	CodeNoHost    = "WEFT0211" // host of a rule is no service
	CodeInvisible = "WEFT0212" // exists, but is not exported
	CodeMesh      = "WEFT0213" // mesh configuration
	CodeProvider  = "WEFT0214" // an extension provider unknown or unfit
	CodeToken     = "WEFT0215" // a condition on tokens where none are read

	CodeGatewayHost   = "WEFT0220" // no server of the gateway has the host
	CodeUndecided     = "WEFT0221" // a service of several ports, and none is named
	CodeIngressSubset = "WEFT0222" // subsets that requests through a gateway do not see
	CodeClaim         = "WEFT0223" // routing by claims where no token is read
	CodeUnverified    = "WEFT0225" // nobody names the authority of a server
	CodePortVerify    = "WEFT0226" // the same, of one port
	CodeMTLS          = "WEFT0227" // client and server do not agree on mTLS
	CodeCertificate   = "WEFT0228" // one certificate in several gateways
	CodeGatewayPort   = "WEFT0229" // no service leads to a gateway's port
	CodeCredential    = "WEFT0230" // a Secret that is there and does not fit
	CodeAddresses     = "WEFT0231" // a TCP port without addresses
	CodeProtocols     = "WEFT0232" // one host and port, two protocols
	CodeBoth          = "WEFT0233" // several objects select one workload
	CodeNoLogs        = "WEFT0234" // access logging without a provider
	CodeSelector      = "WEFT0235" // a selector where targetRefs are meant
	CodeAmbient       = "WEFT0236" // no effect on workloads without a sidecar
	CodeNamespace     = "WEFT0237" // a rule names a namespace in which nothing is
	CodeManyServices  = "WEFT0238" // one port of a workload, several transports
	CodeTargetPort    = "WEFT0239" // one target port, several service ports

	CodeUndeclared = "WEFT0286" // a port of a protocol of messages that nobody declares

	CodeNotInjected   = "WEFT0240" // a namespace that says nothing of injection
	CodeNoProxy       = "WEFT0241" // a pod without its sidecar
	CodeInjectLabels  = "WEFT0242" // labels that contradict each other
	CodeInjectDefault = "WEFT0243" // a namespace that is injected by default
	CodeProxyImage    = "WEFT0244" // a sidecar of another version
	CodeAutoImage     = "WEFT0245" // image: auto that nobody replaces
	CodeUser          = "WEFT0246" // the sidecar's user id
	CodeWebhook       = "WEFT0247" // webhooks that overlap or lead nowhere
	CodeWebhookURL    = "WEFT0248" // the address of a control plane elsewhere
	CodeWebhookIP     = "WEFT0249" // the same, an IP address
	CodeCRD           = "WEFT0250" // a version of Gateway API that is too old
	CodeJWKS          = "WEFT0251" // keys may be fetched from anywhere
	CodeRemoved       = "WEFT0252" // a kind that Istio has removed

	CodeUncaptured = "WEFT0270" // a service whose traffic does not enter sidecars
	CodeElsewhere  = "WEFT0271" // addresses whose traffic does not enter sidecars
	CodeUnguarded  = "WEFT0272" // an outbound policy that does not see all traffic
	CodeFull       = "WEFT0273" // no address is left

	// CodeQuarantine: a proxy has refused what comes of a patch.
	CodeQuarantine = "WEFT0260"
	CodeRelative   = "WEFT0261" // a patch that depends on the order of EnvoyFilters
	CodeVersioned  = "WEFT0262" // the same, and another patch is for some versions only
	CodeReplace    = "WEFT0263" // REPLACE where it does not go
	CodeAdd        = "WEFT0264" // ADD where it does not go
	CodeRemove     = "WEFT0265" // REMOVE where it does not go
)

// Check returns what is wrong, in no particular order.
func Check(s *model.Snapshot) []model.Finding { return check(s, patch.NewCompiler()) }

func check(s *model.Snapshot, patches *patch.Compiler) []model.Finding {
	c := newChecker(s)
	c.routes()
	c.policies()
	c.transcodings()
	c.gateways()
	c.services()
	c.slices()
	c.capture()
	c.workloads()
	c.mesh()
	c.envoyFilters(patches)
	if !s.Cluster.Empty() {
		c.cluster()
	}
	return c.findings
}

// checker indexes a snapshot for one Check.
type checker struct {
	s        *model.Snapshot
	findings []model.Finding

	// hosted are the services by host, the winner first; wild are those with a wildcard host.
	hosted map[string][]*model.Service
	wild   []*model.Service
	hosts  []string // of services, sorted, for suggestions
	rules  map[string][]*model.TrafficPolicySet
	// runs are the labels of everything that runs or is meant to, by namespace.
	runs map[string][]run
	// refused are the objects that are not in force because of what is wrong with them:
	// that others refer to them is no fault of its own.
	refused map[model.Key]bool
	// pods tells that pods are known, so that what selects none is for nothing.
	pods bool
	// meets remembers which pairs of selectors a workload has.
	meets map[[2]string]bool
}

// refused are the keys of objects that a source has found an Error in and that are
// not there.
func refused(s *model.Snapshot) map[model.Key]bool {
	out := map[model.Key]bool{}
	for _, f := range s.Findings {
		if f.Severity == model.Error && f.Code < "WEFT02" && f.Object.Name != "" && s.Objects.Get(f.Object) == nil {
			out[f.Object] = true
		}
	}
	return out
}

// perhaps is a remedy that points to an object of a kind that is refused, if there is
// one; else the one that is given.
func (c *checker) perhaps(kind model.Kind, remedy string) string {
	var names []string
	for k := range c.refused {
		if k.Kind == kind {
			names = append(names, k.Title())
		}
	}
	if len(names) == 0 {
		return remedy
	}
	return "correct " + slices.Min(names) + " first, which is refused and may have it"
}

// refusedHost tells whether a host is that of a Service that is refused.
func (c *checker) refusedHost(host string) bool {
	name, ns, ok := strings.Cut(strings.TrimSuffix(host, ".svc."+c.s.Mesh.ClusterDomain), ".")
	return ok && c.refused[model.Key{Kind: model.KindService, Namespace: ns, Name: name}]
}

// run is a Process, a Workload that belongs to none, or a pod.
type run struct {
	key    model.Key
	labels map[string]string
	ports  map[string]bool // names
	known  bool            // the list of port names is complete
}

func newChecker(s *model.Snapshot) *checker {
	c := &checker{s: s, hosted: map[string][]*model.Service{}, rules: map[string][]*model.TrafficPolicySet{}, runs: map[string][]run{}, meets: map[[2]string]bool{}, refused: refused(s)}
	for _, svc := range s.Services {
		if strings.HasPrefix(svc.Host, "*") {
			c.wild = append(c.wild, svc)
		}
		c.hosted[svc.Host] = append(c.hosted[svc.Host], svc)
	}
	c.hosts = slices.Sorted(maps.Keys(c.hosted))
	for _, p := range s.Policies {
		c.rules[p.Host] = append(c.rules[p.Host], p)
	}
	for _, p := range s.Processes {
		r := run{key: p.Key, labels: p.Labels, ports: map[string]bool{}, known: true}
		for _, port := range p.Ports {
			r.ports[port.Name] = true
		}
		c.runs[p.Key.Namespace] = append(c.runs[p.Key.Namespace], r)
	}
	for _, w := range s.Workloads {
		r := run{key: w.Key, labels: w.Labels, ports: map[string]bool{}, known: w.Key.Kind == model.KindWorkloadEntry}
		for name := range w.Ports {
			r.ports[name] = true
		}
		c.runs[w.Namespace] = append(c.runs[w.Namespace], r)
	}
	for _, p := range s.Cluster.Pods {
		r := run{key: p.Key, labels: c.placed(p), ports: map[string]bool{}, known: true}
		for i := range p.Containers {
			for _, port := range p.Containers[i].Ports {
				r.ports[port.Name] = true
			}
		}
		c.runs[p.Key.Namespace] = append(c.runs[p.Key.Namespace], r)
		c.pods = true
	}
	return c
}

// placed are a pod's labels and those that its node's place adds.
func (c *checker) placed(p *model.Pod) map[string]string {
	node, _ := c.s.Objects.Get(model.Key{Kind: model.KindNode, Name: p.Node}).(*model.Node)
	if node == nil {
		return p.PodLabels
	}
	out := map[string]string{"kubernetes.io/hostname": p.Node}
	for _, l := range []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"} {
		if v := node.Labels[l]; v != "" {
			out[l] = v
		}
	}
	maps.Copy(out, p.PodLabels)
	return out
}

func (c *checker) fail(code string, m *model.Meta, field, msg, remedy string) {
	c.find(m, field, model.Finding{Severity: model.Error, Code: code, Message: msg, Remedy: remedy})
}

func (c *checker) warn(code string, m *model.Meta, field, msg, remedy string) {
	c.find(m, field, model.Finding{Severity: model.Warning, Code: code, Message: msg, Remedy: remedy})
}

func (c *checker) note(code string, m *model.Meta, field, msg, remedy string) {
	c.find(m, field, model.Finding{Severity: model.Info, Code: code, Message: msg, Remedy: remedy})
}

func (c *checker) find(m *model.Meta, field string, f model.Finding) {
	f.Object, f.Origin, f.Field = m.Key, m.At(field), field
	c.findings = append(c.findings, f)
}

// service returns the service of a host: the exact one, else one whose wildcard
// covers it; nil when there is none.
func (c *checker) service(host string) *model.Service {
	if all := c.hosted[host]; len(all) > 0 {
		return all[0]
	}
	for _, s := range c.wild {
		if strings.HasSuffix(host, s.Host[1:]) {
			return s
		}
	}
	return nil
}

// visible returns a service of the host that the namespace may see, if any.
func (c *checker) visible(host, namespace string) *model.Service {
	for _, s := range c.hosted[host] {
		if s.Exports.To(namespace) {
			return s
		}
	}
	if s := c.service(host); s != nil && s.Exports.To(namespace) {
		return s
	}
	return nil
}

// suggestHost finds the service that a misspelt or unfinished host may mean.
func (c *checker) suggestHost(host, namespace string) string {
	if s := c.nearHost(host, namespace); s != "" {
		return s
	}
	return c.perhaps(model.KindServiceEntry, "add a Service or ServiceEntry for it")
}

func (c *checker) nearHost(host, namespace string) string {
	suffix := ".svc." + c.s.Mesh.ClusterDomain
	short, ns := host, namespace
	if rest, ok := strings.CutSuffix(host, suffix); ok {
		if i := strings.LastIndexByte(rest, '.'); i >= 0 {
			short, ns = rest[:i], rest[i+1:]
		}
	} else if first, second, ok := strings.Cut(strings.TrimSuffix(host, ".svc"), "."); ok {
		// "reviews.prod": a dot, so it was not completed.
		if c.hosted[first+"."+second+suffix] != nil {
			return "did you mean " + first + "." + second + suffix + "?"
		}
	}
	for _, h := range c.hosts { // the same name in another namespace
		if s := c.hosted[h][0]; !s.FromEntry && s.Name == short && s.Namespace != ns {
			return "did you mean " + h + "?"
		}
	}
	var names []string
	full := map[string]string{}
	for _, h := range c.hosts {
		s := c.hosted[h][0]
		name := h
		if !s.FromEntry && s.Namespace == ns {
			name = s.Name
		}
		names = append(names, name)
		full[name] = h
	}
	target := short
	if ns != namespace {
		target = host
	}
	if best := closest(target, names); best != "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// closest returns the candidate that differs least, within a third of the
// name's length; "" when none is near.
func closest(name string, candidates []string) string {
	best, limit := "", 1+max(1, len(name)/3)
	for _, c := range candidates {
		if d := distance(name, c, limit); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is Levenshtein's, given up at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 253 || len(b) > 253 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// selects tells whether anything in a namespace has the labels; an empty
// namespace means all of them.
func (c *checker) selects(namespace string, selector map[string]string) bool {
	for ns, all := range c.runs {
		if namespace != "" && ns != namespace {
			continue
		}
		for _, r := range all {
			if model.Matches(selector, r.labels) {
				return true
			}
		}
	}
	return false
}

// text writes a selector as kubectl does: a=b,c=d.
func text(selector map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		parts = append(parts, k+"="+selector[k])
	}
	return strings.Join(parts, ",")
}
