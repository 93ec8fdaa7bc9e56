package config

import (
	"errors"
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	// Linked in so that bootstraps with it can be read.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"

	"github.com/weftmesh/weft/wire"
)

// Types of bootstrap extensions: internal listeners are always there, and Istio's
// asks for workloads by address.
const (
	internalListeners = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
	workloadDiscovery = "type.googleapis.com/istio.workload.BootstrapExtension"
)

// agentFields reads what pilot-agent writes into every bootstrap and few others do.
func (b *Bootstrap) agentFields(m *bootstrapv3.Bootstrap) error {
	for i, e := range m.BootstrapExtensions {
		url, err := configType(e.GetTypedConfig())
		if err != nil {
			return at(err, "bootstrap_extensions[%d].typed_config", i)
		}
		switch url {
		case internalListeners:
		case workloadDiscovery:
			b.Workloads = true
		default:
			return at(fmt.Errorf("%s is not supported", url), "bootstrap_extensions[%d].typed_config", i)
		}
	}
	for _, c := range m.GetStaticResources().GetClusters() {
		if c.Name != wire.SDSCluster {
			continue
		}
		for _, l := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range l.LbEndpoints {
				b.SDSSocket = e.GetEndpoint().GetAddress().GetPipe().GetPath()
			}
		}
	}
	for i, l := range m.GetAdmin().GetAccessLog() {
		f := &filelogv3.FileAccessLog{}
		if !l.GetTypedConfig().MessageIs(f) || l.GetTypedConfig().UnmarshalTo(f) != nil || f.Path != "/dev/null" {
			return at(errors.New("requests to the admin API are not logged: only a file /dev/null is supported"), "admin.access_log[%d]", i)
		}
	}
	for _, n := range []struct {
		is   bool
		text string
	}{
		{m.ApplicationLogConfig != nil, "application_log_config: the proxy's own log keeps its format"},
		{len(m.GetStatsConfig().GetStatsTags()) > 0, "stats_config.stats_tags: statistics keep Envoy's default labels"},
	} {
		if n.is {
			b.Notes = append(b.Notes, n.text)
		}
	}
	return nil
}
