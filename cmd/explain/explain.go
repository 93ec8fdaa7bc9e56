// Package explain says why a mesh does what it does: which objects have a say in a
// request, in order, and what comes out of it; and where an object has effect, and
// where not and why.
//
// What a proxy does is asked of the data plane's own code (proxy.Dry): listeners,
// filter chains, virtual hosts, routes, tokens and policies are chosen by what serves
// traffic, over what translation makes for the proxy. Which object is behind each
// part, translation says. So an answer cannot differ from what happens, but where
// chance decides (weights, faults), or others are asked (CUSTOM authorization), which
// the answer then says. A stock Envoy is explained by the same code.
//
// Nothing is sent anywhere. What happened in the past, or what a proxy has not been
// sent yet, is not looked at.
package explain

import (
	"context"
	"fmt"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Step is one thing that has a say.
type Step struct {
	// Part is what is decided: "route", "mTLS".
	Part string `json:"part"`
	// Object that decides it, and where it is written; none: nobody wrote one.
	Object string `json:"object,omitempty"`
	Origin string `json:"origin,omitempty"`
	Says   string `json:"says"`
}

// Results of a request.
const (
	Forwarded  = "forwarded"
	Denied     = "denied"
	Redirected = "redirected"
	Answered   = "answered"
	Refused    = "refused" // there is no way for it
)

// Endpoint is where a request may arrive.
type Endpoint struct {
	Address  string `json:"address"`
	Workload string `json:"workload,omitempty"`
	Cluster  string `json:"cluster"`
	Locality string `json:"locality,omitempty"`
	Priority uint32 `json:"priority,omitempty"`
	Health   string `json:"health"`
	MTLS     bool   `json:"mtls"`
	// Denied is the policy that refuses the request there; "": none does.
	Denied string `json:"denied,omitempty"`
}

// Answer is the explanation of a request.
type Answer struct {
	Request string `json:"request"`
	From    string `json:"from"`
	Steps   []Step `json:"steps"`
	// Result is one of the above, Why the reason where it is not Forwarded.
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
	// Status that the proxies answer with; 0: the program's.
	Status    int        `json:"status,omitempty"`
	Clusters  []Share    `json:"clusters,omitempty"`
	Timeout   string     `json:"timeout,omitempty"`
	Retries   string     `json:"retries,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Share is a cluster and its part of the requests in percent.
type Share struct {
	Cluster string  `json:"cluster"`
	Percent float64 `json:"percent"`
}

func (a *Answer) say(part string, meta *model.Meta, format string, args ...any) {
	s := Step{Part: part, Says: fmt.Sprintf(format, args...)}
	if meta != nil {
		s.Object, s.Origin = title(meta), meta.Origin.String()
	}
	a.Steps = append(a.Steps, s)
}

// title is an object as its user wrote it.
func title(m *model.Meta) string {
	k := m.Key
	if m.Of != (model.Key{}) {
		k = m.Of
	}
	if k.Kind == model.KindServiceEntry {
		k.Name, _, _ = strings.Cut(k.Name, "/")
	}
	return k.Title()
}

// end notes how a request ends.
func (a *Answer) end(result string, status int, format string, args ...any) {
	a.Result, a.Status, a.Why = result, status, fmt.Sprintf(format, args...)
}

// mesh joins what the control plane makes with what a proxy does with it.
type mesh struct {
	*offline.Mesh
	ctx context.Context
}

// side is one proxy: what it sees, what it gets, and what it does.
type side struct {
	proxy offline.Proxy
	view  *scope.View
	made  *translate.Resources
	dry   *config.Dry
}

// side prepares a proxy. One on demand has what it begins with: see ask.
func (m *mesh) side(p offline.Proxy) (*side, error) {
	p.Asked = nil
	s := &side{proxy: p, view: scope.Build(m.Index, p.Proxy)}
	s.made, _ = m.Translate(p)
	var err error
	s.dry, err = proxy.Dry(m.ctx, updates(s.made))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name(), err)
	}
	return s, nil
}

// updates are resources as a proxy is sent them.
func updates(r *translate.Resources) (out []xds.Update) {
	for _, url := range []string{wire.TypeCluster, wire.TypeListener, wire.TypeRoute, wire.TypeVirtualHost} {
		u := xds.Update{Type: url}
		for _, x := range r.Of(url) {
			u.Set = append(u.Set, xds.Resource{Name: x.Name, Version: x.Version, Body: x.Body})
		}
		out = append(out, u)
	}
	return out
}
