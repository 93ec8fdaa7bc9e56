package xdstext

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// Tables writes, for each group, a table for each type of which there is something.
func Tables(w io.Writer, groups []Group) error {
	colour := cli.Colour(w)
	for i := range groups {
		g := &groups[i]
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, text("  ", cli.Strong.Paint(g.Proxy, colour), g.Note))
		for _, t := range g.Types {
			list := g.list(t)
			if len(list) == 0 {
				continue
			}
			table := &cli.Table{Head: heads[t.URL]}
			for _, r := range list {
				m, err := message(r)
				if err != nil {
					return err
				}
				rows(table, m)
			}
			fmt.Fprintln(w)
			table.Write(w, colour)
		}
	}
	return nil
}

var heads = map[string][]string{
	wire.TypeListener:    {"LISTENER", "ADDRESS", "MATCH", "DESTINATION"},
	wire.TypeRoute:       {"ROUTES", "VIRTUAL HOST", "DOMAINS", "MATCH", "ACTION", "BY"},
	wire.TypeVirtualHost: {"ROUTES", "VIRTUAL HOST", "DOMAINS", "MATCH", "ACTION", "BY"},
	wire.TypeCluster:     {"CLUSTER", "TYPE", "TLS", "BALANCER", "BY"},
	wire.TypeEndpoint:    {"ENDPOINTS OF", "ADDRESS", "LOCALITY", "HEALTH", "WEIGHT", "TLS"},
	wire.TypeSecret:      {"SECRET", "KIND", "SUBJECT", "VALID UNTIL"},
	wire.TypeHost:        {"NAME", "ADDRESSES", "PORTS"},
	wire.TypeWorkload:    {"ADDRESS", "WORKLOAD", "SERVICE ACCOUNT"},
}

// rows adds what a table says about a message.
func rows(t *cli.Table, m proto.Message) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		listenerRows(t, m)
	case *routev3.RouteConfiguration:
		for _, vh := range m.VirtualHosts {
			hostRows(t, m.Name, vh)
		}
	case *routev3.VirtualHost:
		hostRows(t, wire.OnDemandRoute, m)
	case *clusterv3.Cluster:
		clusterRow(t, m)
	case *endpointv3.ClusterLoadAssignment:
		endpointRows(t, m)
	case *tlsv3.Secret:
		secretRow(t, m)
	case *weftpb.Host:
		var ports []string
		for _, p := range m.Ports {
			ports = append(ports, text("/", strconv.Itoa(int(p.Number)), p.Protocol))
		}
		addresses := strings.Join(m.Addresses, ",")
		if m.Canonical != "" {
			addresses = "= " + m.Canonical
		}
		t.Row(m.Name, addresses, strings.Join(ports, ","))
	case *weftpb.Workload:
		t.Row(m.Address, text("/", m.Namespace, m.Name), m.ServiceAccount)
	}
}

func clusterRow(t *cli.Table, m *clusterv3.Cluster) {
	kind := m.GetType().String()
	if m.GetClusterType() != nil {
		kind = m.GetClusterType().Name
	}
	tls := socketTLS(m.TransportSocket)
	for _, s := range m.TransportSocketMatches {
		if got := socketTLS(s.TransportSocket); got != "" {
			tls = got + " where offered"
		}
	}
	t.Row(m.Name, kind, tls, m.LbPolicy.String(), By(m.Metadata))
}

// socketTLS says what a transport socket of a cluster does: "mesh" with the
// workload's own certificate, "TLS" otherwise, "" for plain text.
func socketTLS(s *corev3.TransportSocket) string {
	ctx := &tlsv3.UpstreamTlsContext{}
	if s.GetTypedConfig().UnmarshalTo(ctx) != nil {
		return ""
	}
	if slices.ContainsFunc(ctx.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs(), func(c *tlsv3.SdsSecretConfig) bool { return c.Name == wire.SecretWorkload }) {
		return "mesh"
	}
	return "TLS"
}

func endpointRows(t *cli.Table, m *endpointv3.ClusterLoadAssignment) {
	n := 0
	for _, l := range m.Endpoints {
		at := l.GetLocality()
		locality := text("/", at.GetRegion(), at.GetZone(), at.GetSubZone())
		if l.Priority > 0 {
			locality = text(" ", locality, fmt.Sprintf("(priority %d)", l.Priority))
		}
		for _, e := range l.LbEndpoints {
			n++
			tls := e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"].GetFields()["tlsMode"].GetStringValue()
			weight := "1"
			if w := e.GetLoadBalancingWeight(); w != nil {
				weight = strconv.Itoa(int(w.Value))
			}
			t.Row(m.ClusterName, Address(e.GetEndpoint().GetAddress()), locality, Health(e.HealthStatus), weight, tls)
		}
	}
	if n == 0 {
		t.Row(m.ClusterName, cli.Cell{Text: "none", Style: cli.Warn}, "", "", "", "")
	}
}

// Address is "host:port", or the path of a socket.
func Address(a *corev3.Address) string {
	if p := a.GetPipe(); p != nil {
		return "unix://" + p.Path
	}
	if e := a.GetEnvoyInternalAddress(); e != nil {
		return "internal:" + e.GetServerListenerName()
	}
	host := a.GetSocketAddress().GetAddress()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(a.GetSocketAddress().GetPortValue()))
}

func secretRow(t *cli.Table, m *tlsv3.Secret) {
	kind, source := "", (*corev3.DataSource)(nil)
	switch s := m.Type.(type) {
	case *tlsv3.Secret_TlsCertificate:
		kind, source = "certificate", s.TlsCertificate.CertificateChain
	case *tlsv3.Secret_ValidationContext:
		kind, source = "authority", s.ValidationContext.TrustedCa
	default:
		kind = "other"
	}
	data := source.GetInlineBytes()
	if s := source.GetInlineString(); s != "" {
		data = []byte(s)
	}
	subject, until := "", ""
	if block, _ := pem.Decode(data); block != nil {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			subject, until = text(" ", c.Subject.String(), strings.Join(c.DNSNames, ",")), c.NotAfter.UTC().Format("2006-01-02 15:04 MST")
		}
	}
	t.Row(m.Name, kind, subject, until)
}

// By is the object that Istio's metadata names as the reason for a resource:
// "VirtualService default/reviews"; "" when there is none.
func By(m *corev3.Metadata) string {
	return pb.ConfigTitle(m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue())
}

// Health is how Envoy takes a status: one that is not known counts as healthy.
func Health(s corev3.HealthStatus) string {
	if s == corev3.HealthStatus_UNKNOWN {
		s = corev3.HealthStatus_HEALTHY
	}
	return strings.ToLower(s.String())
}
