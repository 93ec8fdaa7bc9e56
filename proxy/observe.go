package proxy

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// observe is Istio's metrics and who peers are.
type observe struct {
	metrics  *telemetry.Metrics
	peers    *telemetry.Directory
	registry *prometheus.Registry
	ads      *xds.Client
}

// Labels of Istio's canonical service.
const (
	canonicalName     = "service.istio.io/canonical-name"
	canonicalRevision = "service.istio.io/canonical-revision"
)

func (r *runtime) newObserve() *observe {
	o := &observe{registry: prometheus.NewRegistry()}
	o.peers = telemetry.NewDirectory(o.ask)
	m := r.boot.Metadata
	o.metrics = telemetry.New(filter.WorkloadRef{
		Name: m.WorkloadName, Namespace: m.Namespace, App: m.Labels["app"], Version: m.Labels["version"],
		Service: or(m.Labels[canonicalName], m.Labels["app"], m.WorkloadName), Revision: or(m.Labels[canonicalRevision], m.Labels["version"], "latest"),
		Cluster: m.ClusterID,
	}, o.peers)
	pids := r.opt.PIDs
	if pids == nil {
		pids = func() []int { return []int{os.Getpid()} }
	}
	o.registry.MustRegister(o.metrics, telemetry.Processes{PIDs: pids}, admin.EnvoyStats{Visit: r.visitStats})
	return o
}

// or is the first that is not empty.
func or(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// follow lets peers be asked for. Only Weft's control plane knows them, and
// others ignore the type.
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
		o.peers.Learn(res.Name, workload(m))
	}
	for _, name := range u.Removed {
		o.peers.Learn(name, filter.WorkloadRef{})
	}
	return rejected
}
