package proxy

import (
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/handover"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// observe is Istio's metrics and who peers are.
type observe struct {
	metrics  *telemetry.Metrics
	peers    *telemetry.Directory
	standard prometheus.Gatherer // Istio's metrics, with those of processes before this one
	all      prometheus.Gatherer
	ads      *xds.Client
	told     *telemetry.Workloads // by istiod
}

func (r *runtime) newObserve() *observe {
	o := &observe{}
	o.peers = telemetry.NewDirectory(o.ask)
	o.told = telemetry.NewWorkloads(o.peers)
	o.metrics = telemetry.New(telemetry.Local(r.boot.Metadata), o.peers)
	o.metrics.SetNode(r.boot.Metadata.IstioVersion, node(r.boot.Node))
	pids := r.opt.PIDs
	if pids == nil {
		pids = func() []int { return []int{os.Getpid()} }
	}
	standard, rest := prometheus.NewRegistry(), prometheus.NewRegistry()
	standard.MustRegister(o.metrics)
	rest.MustRegister(telemetry.Processes{PIDs: pids}, admin.EnvoyStats{Visit: r.visitStats, Histograms: r.visitHistograms})
	o.standard = handover.Gatherer{Own: standard, Ledger: r.gen.ledger}
	o.all = prometheus.Gatherers{o.standard, rest}
	return o
}

// node is the variable of expressions.
func node(n *corev3.Node) map[string]any {
	return map[string]any{
		"id": n.GetId(), "cluster": n.GetCluster(), "metadata": n.GetMetadata().AsMap(),
		"locality": map[string]any{"region": n.GetLocality().GetRegion(), "zone": n.GetLocality().GetZone(), "sub_zone": n.GetLocality().GetSubZone()},
	}
}

// follow lets peers be asked for, of a control plane of Weft's.
func (o *observe) follow(ads *xds.Client) { o.ads = ads }

func (o *observe) ask(address string) {
	if o.ads != nil {
		o.ads.Subscribe(wire.TypeWorkload, address)
	}
}

func (o *observe) apply(u xds.Update) (rejected []xds.Rejection) {
	for _, res := range u.Set {
		m := &weftpb.Workload{}
		if err := unmarshal(res, m); err != nil {
			rejected = append(rejected, xds.Rejection{Name: res.Name, Err: err})
			continue
		}
		o.peers.Learn(res.Name, telemetry.WorkloadRef(m))
	}
	for _, name := range u.Removed {
		o.peers.Learn(name, filter.WorkloadRef{})
	}
	return rejected
}

// applyIstio takes workloads that istiod tells of. Calls come one at a time.
func (o *observe) applyIstio(u xds.Update) (rejected []xds.Rejection) {
	for _, res := range u.Set {
		if res.Body == nil {
			continue
		}
		if err := o.told.Set(res.Name, res.Body.Value); err != nil {
			rejected = append(rejected, xds.Rejection{Name: res.Name, Err: err})
		}
	}
	for _, name := range u.Removed {
		o.told.Remove(name)
	}
	return rejected
}
