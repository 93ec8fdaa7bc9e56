package telemetry

import (
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// Local makes the labels of the proxy's own workload of its node metadata. The
// canonical labels fall back as Istio's do.
func Local(m wire.NodeMetadata) filter.WorkloadRef {
	return filter.WorkloadRef{
		Name: m.WorkloadName, Namespace: m.Namespace, Cluster: m.ClusterID, Account: m.ServiceAccount,
		App:      first(m.Labels["app"], m.Labels["app.kubernetes.io/name"], m.Labels["service.istio.io/canonical-name"]),
		Version:  first(m.Labels["version"], m.Labels["app.kubernetes.io/version"]),
		Service:  first(m.Labels["service.istio.io/canonical-name"], m.Labels["app.kubernetes.io/name"], m.Labels["app"], m.WorkloadName),
		Revision: first(m.Labels["service.istio.io/canonical-revision"], m.Labels["app.kubernetes.io/version"], m.Labels["version"], "latest"),
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// WorkloadRef makes the labels of a peer of the control plane's message.
func WorkloadRef(w *weftpb.Workload) filter.WorkloadRef {
	return filter.WorkloadRef{
		Name: w.GetName(), Namespace: w.GetNamespace(), App: w.GetApp(), Version: w.GetVersion(),
		Service: w.GetService(), Revision: w.GetRevision(), Cluster: w.GetCluster(),
	}
}
