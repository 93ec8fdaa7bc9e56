package strict

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func mustAny(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCheck(t *testing.T) {
	c, err := New(Table{
		"envoy.config.cluster.v3.Cluster": "name connect_timeout lb_policy=RANDOM dns_lookup_family metadata~ " +
			"transport_socket typed_extension_protocol_options upstream_bind_config ignore_health_on_host_removal=false",
		"envoy.config.core.v3.TransportSocket": "name typed_config",
		"envoy.config.core.v3.BindConfig":      "socket_options freebind=false",
		"envoy.config.core.v3.SocketOption":    "level",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(); err != nil {
		t.Fatal(err)
	}
	unknown := &clusterv3.Cluster{Name: "x"}
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 5000, protowire.VarintType), 1))
	for _, tc := range []struct {
		name string
		in   *clusterv3.Cluster
		want string // "" accepted
	}{
		{"plain", &clusterv3.Cluster{Name: "x", ConnectTimeout: durationpb.New(1)}, ""},
		{"unsupported", &clusterv3.Cluster{Name: "x", AltStatName: "y"}, "alt_stat_name: not supported"},
		{"two", &clusterv3.Cluster{AltStatName: "y", CloseConnectionsOnHostHealthFailure: true},
			"alt_stat_name: not supported; close_connections_on_host_health_failure: not supported"},
		{"wrong value", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_MAGLEV}, "lb_policy: MAGLEV is not supported, only RANDOM"},
		{"right value", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RANDOM}, ""},
		{"opaque", &clusterv3.Cluster{Metadata: &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"x": {TypeUrl: "y"}}}}, ""},
		{"wrapper", &clusterv3.Cluster{UpstreamBindConfig: &corev3.BindConfig{Freebind: wrapperspb.Bool(true)}},
			"upstream_bind_config.freebind: true is not supported, only false"},
		{"wrapper default", &clusterv3.Cluster{UpstreamBindConfig: &corev3.BindConfig{Freebind: wrapperspb.Bool(false)}}, ""},
		{"list", &clusterv3.Cluster{UpstreamBindConfig: &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{{Level: 1}, {Name: 1}}}},
			"upstream_bind_config.socket_options[1].name: not supported"},
		{"message", &clusterv3.Cluster{OutlierDetection: &clusterv3.OutlierDetection{}}, "outlier_detection: not supported"},
		{"any", &clusterv3.Cluster{TransportSocket: &corev3.TransportSocket{ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: mustAny(t, &corev3.SocketOption{Name: 2})}}},
			"transport_socket.typed_config.name: not supported"},
		{"any of unsupported type", &clusterv3.Cluster{TransportSocket: &corev3.TransportSocket{ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: mustAny(t, &corev3.Address{})}}},
			"transport_socket.typed_config: envoy.config.core.v3.Address is not supported"},
		{"any of unknown type", &clusterv3.Cluster{TypedExtensionProtocolOptions: map[string]*anypb.Any{"k": {TypeUrl: "a/b.C"}}},
			`typed_extension_protocol_options["k"]: a/b.C is not supported`},
		{"garbage any", &clusterv3.Cluster{TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"k": {TypeUrl: "a/envoy.config.core.v3.SocketOption", Value: []byte{0xff}}}},
			`typed_extension_protocol_options["k"]: a/envoy.config.core.v3.SocketOption does not decode`},
		{"unknown field", unknown, "(message): envoy.config.cluster.v3.Cluster has a field that this version does not know"},
	} {
		err := c.Check(tc.in)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)):
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestTableMistakes(t *testing.T) {
	if _, err := New(Table{"a": "x"}, Table{"a": "y"}); err == nil {
		t.Error("a message in two tables was accepted")
	}
	c, err := New(Table{"envoy.config.core.v3.SocketOption": "levle", "no.Such": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(); err == nil || !strings.Contains(err.Error(), "levle") || !strings.Contains(err.Error(), "no.Such") {
		t.Errorf("Verify: %v", err)
	}
}

func TestFeatures(t *testing.T) {
	c, err := New(Table{"envoy.config.core.v3.SocketOption": "level name~"})
	if err != nil {
		t.Fatal(err)
	}
	f := c.Features()
	if len(f) != 1 || strings.Join(f[0].Fields, " ") != "level name" || !strings.Contains(strings.Join(f[0].Unsupported, " "), "int_value") {
		t.Errorf("%+v", f)
	}
}
