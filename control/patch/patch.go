// Package patch applies the patches of EnvoyFilters to Envoy's messages, by Istio's
// rules: what is matched, in which order, how messages are merged, also those inside
// of Anys of types that the program does not link.
//
// Compile reads an EnvoyFilter's values; one that is not what Envoy takes (an unknown
// type or field, a rule of Envoy's API that it breaks) is a Finding and left out. A
// Set is what one proxy gets; it changes a resource as a whole: what it is given is
// not written to, and a patch with which the result would break Envoy's rules is left
// out with a Finding, the others stay. What only an engine itself can refuse,
// it does not know.
//
// It does no I/O. A Set may be used by any goroutine.
package patch

import (
	"strings"
	"sync"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Codes of Findings.
const (
	CodeValue  = "WEFT0350" // the value of a patch is not what Envoy takes
	CodeBreaks = "WEFT0351" // with the patch the result is not what Envoy takes
	CodeMerge  = "WEFT0352" // a patch that cannot be merged into what it matches
)

// patch is one patch with its value.
type patch struct {
	*model.EnvoyPatch
	ref   model.PatchRef
	value proto.Message // nil: none is needed
}

// finding is a Finding about the patch.
func (p *patch) finding(code, below, message, remedy string) model.Finding {
	return About(p.ref, code, below, message, remedy)
}

// About is an Error about a patch, or what is below it (".patch.value").
func About(r model.PatchRef, code, below, message, remedy string) model.Finding {
	at := r.Filter.Field(r.Index)
	if r.Filter.Fields == nil {
		at += below
	}
	return model.Finding{
		Code: code, Severity: model.Error, Object: r.Filter.Key, Origin: r.Filter.At(at), Field: at, Message: message, Remedy: remedy,
	}
}

// Compiler remembers what it has read as long as the objects are the same. It may be
// used by any goroutine.
type Compiler struct {
	mu    sync.Mutex
	known map[*model.EnvoyFilter]*compiled
	sets  map[string]*Set
}

// compiled is an EnvoyFilter's patches, by index; nil: not usable.
type compiled struct {
	patches  []*patch
	findings []model.Finding
}

// NewCompiler returns an empty one.
func NewCompiler() *Compiler {
	return &Compiler{known: map[*model.EnvoyFilter]*compiled{}, sets: map[string]*Set{}}
}

// Check reads an EnvoyFilter's values and returns what is wrong with them.
func (c *Compiler) Check(f *model.EnvoyFilter) []model.Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(f).findings
}

func (c *Compiler) read(f *model.EnvoyFilter) *compiled {
	if k := c.known[f]; k != nil {
		return k
	}
	out := &compiled{patches: make([]*patch, len(f.Patches))}
	for i := range f.Patches {
		p := &patch{EnvoyPatch: &f.Patches[i], ref: model.PatchRef{Filter: f, Index: i}}
		unknown, err := p.read()
		if unknown != nil {
			w := p.finding(CodeValue, ".patch.value", "applies without a part that is not known: "+textOf(unknown), "remove it, or write it as Envoy's v3 API has it")
			w.Severity = model.Warning
			out.findings = append(out.findings, w)
		}
		if err != nil {
			remedy := "until then the other patches apply without it"
			if strings.Contains(err.Error(), "envoy.api.v2") || strings.Contains(err.Error(), "envoy.config.filter.") {
				remedy = "write the v3 form of the type"
			}
			out.findings = append(out.findings, p.finding(CodeValue, ".patch.value", "is not what Envoy takes: "+textOf(err), remedy))
			continue
		}
		out.patches[i] = p
	}
	c.known[f] = out
	return out
}

// Keep forgets all but what these filters need.
func (c *Compiler) Keep(list []*model.EnvoyFilter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := make(map[*model.EnvoyFilter]bool, len(list))
	for _, f := range list {
		keep[f] = true
	}
	for f := range c.known {
		if !keep[f] {
			delete(c.known, f)
		}
	}
	for key, s := range c.sets {
		for _, p := range s.all {
			if !keep[p.ref.Filter] {
				delete(c.sets, key)
				break
			}
		}
	}
}

// empty makes the message that a patch's value is.
var empty = map[model.ApplyTo]func() proto.Message{
	model.ToListener:       func() proto.Message { return &listenerv3.Listener{} },
	model.ToListenerFilter: func() proto.Message { return &listenerv3.ListenerFilter{} },
	model.ToFilterChain:    func() proto.Message { return &listenerv3.FilterChain{} },
	model.ToNetworkFilter:  func() proto.Message { return &listenerv3.Filter{} },
	model.ToHTTPFilter:     func() proto.Message { return &hcmv3.HttpFilter{} },
	model.ToRouteConfig:    func() proto.Message { return &routev3.RouteConfiguration{} },
	model.ToVirtualHost:    func() proto.Message { return &routev3.VirtualHost{} },
	model.ToHTTPRoute:      func() proto.Message { return &routev3.Route{} },
	model.ToCluster:        func() proto.Message { return &clusterv3.Cluster{} },
	model.ToExtension:      func() proto.Message { return &corev3.TypedExtensionConfig{} },
	model.ToBootstrap:      func() proto.Message { return &bootstrapv3.Bootstrap{} },
}

// read reads the value. Fields that are not known are passed over, as Istio does: they
// may be of another version of Envoy; unknown says so.
func (p *patch) read() (unknown, err error) {
	if p.Operation == model.PatchRemove {
		return nil, nil
	}
	fresh := empty[p.ApplyTo]
	if fresh == nil {
		return nil, wrong("", "applyTo %s is not known", p.ApplyTo)
	}
	p.value = fresh()
	if err := (protojson.UnmarshalOptions{Resolver: envoy}).Unmarshal([]byte(p.Value), p.value); err != nil {
		unknown = wrong("", "%s", plain(err))
		p.value = fresh()
		if err := (protojson.UnmarshalOptions{Resolver: envoy, DiscardUnknown: true}).Unmarshal([]byte(p.Value), p.value); err != nil {
			return nil, wrong("", "%s", plain(err))
		}
	}
	if p.ApplyTo == model.ToBootstrap {
		// Proxies get it as a file, of types that the program has linked.
		if _, err := protojson.Marshal(p.value); err != nil {
			return nil, wrong("", "%s, or not in a bootstrap", plain(err))
		}
	}
	if p.merges() {
		return unknown, nil // a part of a message: only the whole can be judged
	}
	return unknown, validateMessage("", p.value.ProtoReflect())
}

func (p *patch) merges() bool {
	return p.Operation == model.PatchMerge || p.Operation == model.PatchMergeReplace
}

// plain is an error of protojson's in plain words. It has spaces that change from
// run to run, so that nobody compares it.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = strings.TrimPrefix(text, "proto: ")
	if _, rest, ok := strings.Cut(text, "): "); ok && strings.HasPrefix(text, "(line ") {
		text = rest
	}
	if _, rest, ok := strings.Cut(text, "unable to resolve "); ok {
		name, _, _ := strings.Cut(rest, ":")
		if i := strings.Index(rest, `": `); i >= 0 {
			name = rest[:i+1]
		}
		return "the type " + name + " is not known"
	}
	return text
}
