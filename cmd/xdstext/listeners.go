package xdstext

import (
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/cli"
)

func listenerRows(t *cli.Table, m *listenerv3.Listener) {
	chains := m.FilterChains
	if m.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], m.DefaultFilterChain)
	}
	for i, c := range chains {
		match := ChainMatch(c)
		if c == m.DefaultFilterChain {
			match = "anything else"
		}
		if i == 0 {
			t.Row(m.Name, Address(m.Address), match, chainTarget(c))
		} else {
			t.Row(cli.Cell{Text: " "}, cli.Cell{Text: " "}, match, chainTarget(c))
		}
	}
	if len(chains) == 0 {
		t.Row(m.Name, Address(m.Address), "", "")
	}
}

// ChainMatch is what a filter chain is for: "10.96.3.4:9080 and TLS and SNI a.com".
func ChainMatch(c *listenerv3.FilterChain) string {
	m := c.GetFilterChainMatch()
	var parts []string
	var to []string
	for _, p := range m.GetPrefixRanges() {
		to = append(to, p.AddressPrefix+"/"+strconv.Itoa(int(p.PrefixLen.GetValue())))
	}
	if p := m.GetDestinationPort(); p != nil {
		parts = append(parts, text(":", strings.Join(to, ","), strconv.Itoa(int(p.Value))))
	} else if len(to) > 0 {
		parts = append(parts, strings.Join(to, ","))
	}
	switch m.GetTransportProtocol() {
	case "tls":
		parts = append(parts, "TLS")
	case "raw_buffer":
		parts = append(parts, "plain text")
	}
	if len(m.GetServerNames()) > 0 {
		parts = append(parts, "SNI "+strings.Join(m.ServerNames, ","))
	}
	if len(m.GetApplicationProtocols()) > 0 {
		parts = append(parts, "ALPN "+strings.Join(m.ApplicationProtocols, ","))
	}
	return orAll(strings.Join(parts, " and "))
}

// chainTarget is where a chain's connections go.
func chainTarget(c *listenerv3.FilterChain) string {
	how := ""
	ctx := &tlsv3.DownstreamTlsContext{}
	if c.TransportSocket.GetTypedConfig().UnmarshalTo(ctx) == nil {
		how = "ends TLS"
		if ctx.GetRequireClientCertificate().GetValue() {
			how = "ends mutual TLS"
		}
	}
	to := "nowhere"
	for _, f := range c.Filters {
		hcm, tcp := &hcmv3.HttpConnectionManager{}, &tcpv3.TcpProxy{}
		switch {
		case f.GetTypedConfig().UnmarshalTo(hcm) == nil:
			to = httpTarget(hcm)
		case f.GetTypedConfig().UnmarshalTo(tcp) == nil:
			to = tcpTarget(tcp)
		}
	}
	return text("; ", how, to)
}

func httpTarget(m *hcmv3.HttpConnectionManager) string {
	if rds := m.GetRds(); rds != nil {
		return "routes " + rds.RouteConfigName
	}
	for _, vh := range m.GetRouteConfig().GetVirtualHosts() {
		for _, r := range vh.Routes {
			return "HTTP to " + Action(r)
		}
	}
	return "HTTP"
}

func tcpTarget(m *tcpv3.TcpProxy) string {
	if w := m.GetWeightedClusters(); w != nil {
		var parts []string
		for _, c := range w.Clusters {
			parts = append(parts, c.Name+" "+strconv.Itoa(int(c.Weight)))
		}
		return "TCP to " + strings.Join(parts, ", ")
	}
	return "TCP to " + m.GetCluster()
}
