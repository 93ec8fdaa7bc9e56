package proxy

import (
	"crypto/x509"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/wire"
)

// admin makes the admin API, which shows what the stages hold.
func (r *runtime) admin() *admin.Server {
	o := admin.Options{
		Merged: r.opt.Merged, Health: r.opt.Health, Prometheus: r.opt.Prometheus, Socket: r.opt.AdminSocket,
		Ready: r.ready, ServerInfo: r.serverInfo, ConfigDump: r.configDump, Clusters: r.showClusters,
		Listeners: r.showListeners, Certs: r.showCerts, Stats: r.dottedStats, Metrics: r.observe.all,
		Programs: r.opt.Programs, Level: r.opt.Level, Quit: r.quit, Log: r.log.With("component", "admin"),
		Runtime: r.showRuntime, RuntimeModify: r.boot.Runtime.Modify,
		Drain: func() { r.listeners.Drain(false) }, Fail: r.failing.Store, Listen: r.listenAdmin,
	}
	if a := r.opt.Istio; a != nil {
		o.Programs = append(o.Programs, a.Metrics...)
		o.Leave = func() { r.failing.Store(true) }
		if a.App != nil {
			o.App = a.App
		}
	}
	if r.boot.Admin.IsValid() {
		o.API = []string{r.boot.Admin.String()}
	}
	return admin.New(o)
}

func (r *runtime) ready() (bool, string) {
	if !r.store.Live() {
		return false, "PRE_INITIALIZING: listeners are not live yet: waiting for the control plane"
	}
	if r.failing.Load() {
		return false, "DRAINING"
	}
	return true, ""
}

func (r *runtime) serverInfo() any {
	state := "LIVE"
	if ok, why := r.ready(); !ok {
		state, _, _ = strings.Cut(why, ":")
	}
	up := strconv.FormatInt(int64(time.Since(r.start)/time.Second), 10) + "s"
	return map[string]any{
		"version": "weft/" + r.opt.Version, "state": state, "uptime_current_epoch": up, "uptime_all_epochs": up,
		"node":                 json.RawMessage(asJSON(r.boot.Node)),
		"hot_restart_version":  strconv.Itoa(wire.HandoverVersion),
		"command_line_options": map[string]any{"restart_epoch": r.gen.number},
	}
}

func asJSON(m proto.Message) []byte {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return []byte(`{}`)
	}
	return b
}

// configDump is what Envoy's /config_dump has, of all resources held.
func (r *runtime) configDump(q admin.DumpQuery) ([]byte, error) {
	d := dump{records: map[string][]*config.Record{}}
	for _, rec := range r.store.Records() {
		d.records[rec.Type] = append(d.records[rec.Type], rec)
	}
	d.add(&adminv3.BootstrapConfigDump{Bootstrap: shownBootstrap(r.boot.Proto), LastUpdated: timestamppb.New(r.start)})
	d.add(d.clusters())
	d.add(d.listeners())
	if dynamic, inline := r.store.Scopes(); len(dynamic)+len(inline) > 0 {
		d.add(d.scopes(dynamic, inline, r.start))
	}
	d.add(d.routes())
	d.add(d.secrets())
	d.add(d.extensions())
	if q.Endpoints {
		d.add(d.endpoints())
	}
	if d.err != nil {
		return nil, d.err
	}
	if err := narrow(&d.out, q); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " "}.Marshal(&d.out)
}

// shownBootstrap is the bootstrap without what authenticates the proxy.
func shownBootstrap(m *bootstrapv3.Bootstrap) *bootstrapv3.Bootstrap {
	m = proto.CloneOf(m)
	for _, c := range []*corev3.ApiConfigSource{m.GetDynamicResources().GetAdsConfig(), m.GetClusterManager().GetLoadStatsConfig()} {
		for _, s := range c.GetGrpcServices() {
			for _, h := range s.InitialMetadata {
				h.Value = "[redacted]"
			}
		}
	}
	return m
}

// dump collects the parts of a config dump.
type dump struct {
	records map[string][]*config.Record
	out     adminv3.ConfigDump
	err     error
}

func (d *dump) add(m proto.Message) {
	a, err := anypb.New(m)
	if err != nil {
		d.err = err
		return
	}
	d.out.Configs = append(d.out.Configs, a)
}

func failed(rec *config.Record) *adminv3.UpdateFailureState {
	if rec.Rejected == "" {
		return nil
	}
	return &adminv3.UpdateFailureState{
		Details: rec.Rejected, VersionInfo: rec.RejectedVersion, LastUpdateAttempt: timestamppb.New(rec.RejectedAt),
	}
}

func (d *dump) clusters() *adminv3.ClustersConfigDump {
	out := &adminv3.ClustersConfigDump{}
	for _, rec := range d.records[wire.TypeCluster] {
		if rec.Static {
			out.StaticClusters = append(out.StaticClusters, &adminv3.ClustersConfigDump_StaticCluster{Cluster: rec.Body})
			continue
		}
		out.DynamicActiveClusters = append(out.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{
			VersionInfo: rec.Version, Cluster: rec.Body, LastUpdated: timestamppb.New(rec.Updated), ErrorState: failed(rec),
		})
	}
	return out
}

func (d *dump) listeners() *adminv3.ListenersConfigDump {
	out := &adminv3.ListenersConfigDump{}
	for _, rec := range d.records[wire.TypeListener] {
		if rec.Static {
			out.StaticListeners = append(out.StaticListeners, &adminv3.ListenersConfigDump_StaticListener{Listener: rec.Body})
			continue
		}
		l := &adminv3.ListenersConfigDump_DynamicListener{Name: rec.Name, ErrorState: failed(rec)}
		if rec.Body != nil {
			l.ActiveState = &adminv3.ListenersConfigDump_DynamicListenerState{
				VersionInfo: rec.Version, Listener: rec.Body, LastUpdated: timestamppb.New(rec.Updated),
			}
		}
		out.DynamicListeners = append(out.DynamicListeners, l)
	}
	return out
}

func (d *dump) routes() *adminv3.RoutesConfigDump {
	out := &adminv3.RoutesConfigDump{}
	for _, rec := range d.records[wire.TypeRoute] {
		out.DynamicRouteConfigs = append(out.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
			VersionInfo: rec.Version, RouteConfig: rec.Body, LastUpdated: timestamppb.New(rec.Updated), ErrorState: failed(rec),
		})
	}
	return out
}

// scopes are those of connection managers by name, and those that they have of their own.
func (d *dump) scopes(dynamic []string, inline []config.InlineScopes, start time.Time) *adminv3.ScopedRoutesConfigDump {
	out := &adminv3.ScopedRoutesConfigDump{}
	for _, s := range inline {
		out.InlineScopedRouteConfigs = append(out.InlineScopedRouteConfigs, &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{
			Name: s.Name, ScopedRouteConfigs: s.Scopes, LastUpdated: timestamppb.New(start),
		})
	}
	for _, name := range dynamic {
		all := &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{Name: name}
		last := start
		for _, rec := range d.records[wire.TypeScope] {
			if rec.Body != nil {
				all.ScopedRouteConfigs = append(all.ScopedRouteConfigs, rec.Body)
			}
			if !rec.Updated.Before(last) {
				all.VersionInfo, last = rec.Version, rec.Updated
			}
			if f := failed(rec); f != nil {
				all.ErrorState = f
			}
		}
		all.LastUpdated = timestamppb.New(last)
		out.DynamicScopedRouteConfigs = append(out.DynamicScopedRouteConfigs, all)
	}
	return out
}

func (d *dump) endpoints() *adminv3.EndpointsConfigDump {
	out := &adminv3.EndpointsConfigDump{}
	for _, rec := range d.records[wire.TypeEndpoint] {
		out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
			VersionInfo: rec.Version, EndpointConfig: rec.Body, LastUpdated: timestamppb.New(rec.Updated), ErrorState: failed(rec),
		})
	}
	return out
}

func (d *dump) secrets() *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	for _, rec := range d.records[wire.TypeSecret] {
		if rec.Static {
			out.StaticSecrets = append(out.StaticSecrets, &adminv3.SecretsConfigDump_StaticSecret{Name: rec.Name, Secret: rec.Body})
			continue
		}
		out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, &adminv3.SecretsConfigDump_DynamicSecret{
			Name: rec.Name, VersionInfo: rec.Version, Secret: rec.Body, LastUpdated: timestamppb.New(rec.Updated), ErrorState: failed(rec),
		})
	}
	return out
}

// extensions are filters that come by name.
func (d *dump) extensions() *adminv3.EcdsConfigDump {
	out := &adminv3.EcdsConfigDump{}
	for _, rec := range d.records[wire.TypeExtension] {
		out.EcdsFilters = append(out.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{
			VersionInfo: rec.Version, EcdsFilter: rec.Body, LastUpdated: timestamppb.New(rec.Updated), ErrorState: failed(rec),
		})
	}
	return out
}

func (r *runtime) showListeners() (out [][2]string) {
	for _, l := range r.listeners.All() {
		for _, a := range l.Bound {
			out = append(out, [2]string{l.Listener.Name, a.String()})
		}
		if len(l.Bound) == 0 {
			for _, a := range l.Listener.Addresses {
				out = append(out, [2]string{l.Listener.Name, a.String()})
			}
		}
	}
	return out
}

// showCerts is /certs: the proxy's certificates and roots in use.
func (r *runtime) showCerts() any {
	type name struct {
		URI string `json:"uri,omitempty"`
		DNS string `json:"dns,omitempty"`
	}
	type cert struct {
		Path       string `json:"path"`
		Serial     string `json:"serial_number"`
		SANs       []name `json:"subject_alt_names"`
		Days       string `json:"days_until_expiration"`
		ValidFrom  string `json:"valid_from"`
		Expiration string `json:"expiration_time"`
	}
	type pair struct {
		CA    []cert `json:"ca_cert"`
		Chain []cert `json:"cert_chain"`
	}
	out := []pair{}
	now := time.Now()
	shown := func(path string, x *x509.Certificate, sans []name) cert {
		days := strconv.FormatInt(max(0, int64(x.NotAfter.Sub(now)/(24*time.Hour))), 10)
		return cert{path, x.SerialNumber.Text(16), sans, days, x.NotBefore.UTC().Format(time.RFC3339), x.NotAfter.UTC().Format(time.RFC3339)}
	}
	for _, s := range r.secrets.All() {
		p := pair{CA: []cert{}, Chain: []cert{}}
		if t := s.Trust(); t != nil {
			for _, x := range t.Roots() {
				p.CA = append(p.CA, shown(s.Name(), x, []name{}))
			}
		}
		if c := s.Certificate(); c != nil {
			for _, x := range c.Chain() {
				sans := []name{}
				for _, u := range x.URIs {
					sans = append(sans, name{URI: u.String()})
				}
				for _, d := range x.DNSNames {
					sans = append(sans, name{DNS: d})
				}
				p.Chain = append(p.Chain, shown(s.Name(), x, sans))
			}
		}
		if len(p.CA)+len(p.Chain) > 0 {
			out = append(out, p)
		}
	}
	return map[string]any{"certificates": out}
}
