package fleet

import (
	"context"
	"slices"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// deltaStream tells whether a stream is of the delta variant. The other one knows
// no virtual hosts on demand.
func deltaStream(ctx context.Context) bool {
	method, _ := grpc.Method(ctx)
	return method == discoverypb.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
}

// use answers what the proxy asks for, by its newest build; nil when it is not on
// demand. It is called with building held.
func (p *session) use(own *translate.Own) *translate.Used {
	if p.demand == nil {
		return nil
	}
	return p.demand.Used(own, p.ask(), p.used)
}

// renew makes what the proxy gets once more where a push came after it was made and
// before it was noted: that passed the proxy by. It is called with building
// held.
func (p *session) renew() {
	for p.used.Outdated() {
		p.fleet.publish(p, p.shared, p.own, p.use(p.own), nil)
		if p.closed {
			return
		}
	}
}

// demanded are the types of which a proxy on demand gets what it asks for, proxylessly
// those of gRPC without a proxy.
var (
	demanded    = []string{wire.TypeVirtualHost, wire.TypeCluster, wire.TypeHost}
	proxylessly = []string{wire.TypeListener, wire.TypeRoute, wire.TypeCluster, wire.TypeEndpoint}
)

// Demand implements serve.Demander.
func (p *session) Demand(typeURL string, asked, dropped []string, held map[string]string) {
	types := demanded
	if p.proxy.Proxyless() {
		types = proxylessly
	}
	if !slices.Contains(types, typeURL) {
		return
	}
	p.building.Lock()
	defer p.building.Unlock()
	names := p.asked[typeURL]
	before := len(names)
	if names == nil {
		names = map[string]bool{}
		p.asked[typeURL] = names
	}
	now := time.Now()
	for _, name := range asked {
		names[name] = true
		if delete(p.usage.lent, name); typeURL == wire.TypeVirtualHost {
			p.usage.asked[name] = now
		}
	}
	// What it has from before counts as asked for: it goes on using that.
	for name := range held {
		if typeURL == wire.TypeCluster && !names[name] {
			p.usage.lent[name], p.usage.asked[name] = true, now
		}
		names[name] = true
	}
	if typeURL == wire.TypeCluster && held != nil {
		p.held = held
	}
	different := len(names) != before
	for _, name := range dropped {
		// A proxy drops all virtual hosts when it is to ask again for those that were
		// taken away; what it has, it goes on using.
		if typeURL != wire.TypeVirtualHost {
			different = different || names[name]
			delete(names, name)
		}
	}
	if !different || p.demand == nil {
		return
	}
	p.bound(typeURL, asked)
	p.note(typeURL, asked)
	p.fleet.publish(p, p.shared, p.own, p.use(p.own), nil)
	p.renew()
}

var _ serve.Demander = (*session)(nil)
