package config

import (
	"errors"
	"fmt"
	"time"

	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/tcp"
)

// tcpProxy makes a TCP proxy.
func (d *Decoder) tcpProxy(a *anypb.Any, cc *chainContext) (filter.Terminal, error) {
	m := &tcpv3.TcpProxy{}
	if err := open(a, m); err != nil {
		return nil, err
	}
	c := tcp.Config{
		StatPrefix: m.StatPrefix, Attempts: m.MaxConnectAttempts.GetValue(), Idle: durationPtr(m.IdleTimeout),
		MaxDuration:       duration(m.MaxDownstreamConnectionDuration),
		MaxDurationJitter: m.MaxDownstreamConnectionDurationJitterPercentage.GetValue(),
		Observers:         d.TCPObservers,
	}
	base, err := labels(m.MetadataMatch, subsetMetadata)
	if err != nil {
		return nil, at(err, "metadata_match")
	}
	c.Subset = filter.SubsetKey(base)
	switch s := m.ClusterSpecifier.(type) {
	case *tcpv3.TcpProxy_Cluster:
		c.Clusters = []tcp.Weighted{{Name: s.Cluster, Subset: c.Subset}}
	case *tcpv3.TcpProxy_WeightedClusters:
		for i, w := range s.WeightedClusters.Clusters {
			out, err := tcpWeighted(w, base)
			if err != nil {
				return nil, at(err, "weighted_clusters.clusters[%d]", i)
			}
			c.Clusters = append(c.Clusters, out)
		}
	default:
		return nil, errors.New("no cluster: want cluster or weighted_clusters")
	}
	if c.Ask, err = d.tcpDemand(m.OnDemand); err != nil {
		return nil, at(err, "on_demand")
	}
	for i, h := range m.HashPolicy {
		if h.GetSourceIp() == nil {
			return nil, at(fmt.Errorf("%T is not supported", h.PolicySpecifier), "hash_policy[%d]", i)
		}
		c.HashSourceIP = true
	}
	c.LogEvery, c.LogConnected = duration(m.AccessLogFlushInterval), m.FlushAccessLogOnConnected
	if o := m.AccessLogOptions; o != nil {
		c.LogEvery, c.LogConnected = duration(o.AccessLogFlushInterval), o.FlushAccessLogOnConnected
	}
	logs, err := d.accessLogs(m.AccessLog)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		c.AccessLogs = append(c.AccessLogs, l)
	}
	for _, w := range c.Clusters {
		cc.clusters = append(cc.clusters, w.Name)
	}
	return tcp.New(d.Clusters, c)
}

// defaultTCPDemand is how long a connection waits for a cluster, in Envoy.
const defaultTCPDemand = time.Minute

// tcpDemand reads how clusters are asked for, nil: they are not.
func (d *Decoder) tcpDemand(m *tcpv3.TcpProxy_OnDemand) (func(string, func(filter.Outcome)) (filter.Outcome, func() bool), error) {
	if m.GetOdcdsConfig() == nil {
		return nil, nil
	}
	if _, err := readSource(m.OdcdsConfig, ""); err != nil {
		return nil, at(err, "odcds_config")
	}
	if d.StateOfTheWorld {
		return nil, at(errors.New("needs the incremental variant of ADS (DELTA_GRPC)"), "odcds_config")
	}
	timeout := defaultTCPDemand
	if m.Timeout != nil {
		timeout = m.Timeout.AsDuration()
	}
	return func(cluster string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
		return d.AskCluster(cluster, timeout, wake)
	}, nil
}

// tcpWeighted reads one cluster of several; its labels are merged over the base.
func tcpWeighted(m *tcpv3.TcpProxy_WeightedCluster_ClusterWeight, base map[string]string) (tcp.Weighted, error) {
	own, err := labels(m.MetadataMatch, subsetMetadata)
	if err != nil {
		return tcp.Weighted{}, at(err, "metadata_match")
	}
	all := make(map[string]string, len(base)+len(own))
	for _, set := range []map[string]string{base, own} {
		for k, v := range set {
			all[k] = v
		}
	}
	return tcp.Weighted{Name: m.Name, Weight: m.Weight, Subset: filter.SubsetKey(all)}, nil
}
