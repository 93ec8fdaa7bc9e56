package alpn

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"`

// protocols: the cluster "plain" keeps its own, "h2" speaks HTTP/2, others as the client.
func protocols(cluster, client string) (string, bool) {
	switch cluster {
	case "plain":
		return "", false
	case "h2":
		return "HTTP/2", true
	}
	return client, true
}

// TestIstiosOwn is the configuration that istiod writes.
func TestIstiosOwn(t *testing.T) {
	const cfg = typ + `,"alpnOverride":[{"alpnOverride":["istio-http/1.0","istio","http/1.0"]},
		{"upstreamProtocol":"HTTP11","alpnOverride":["istio-http/1.1","istio","http/1.1"]},
		{"upstreamProtocol":"HTTP2","alpnOverride":["istio-h2","istio","h2"]}]}`
	for _, tc := range []struct {
		cluster, client string
		want            []string
	}{
		{"c", "HTTP/1.0", []string{"istio-http/1.0", "istio", "http/1.0"}},
		{"c", "HTTP/1.1", []string{"istio-http/1.1", "istio", "http/1.1"}},
		{"c", "HTTP/2", []string{"istio-h2", "istio", "h2"}},
		{"h2", "HTTP/1.1", []string{"istio-h2", "istio", "h2"}},
		{"plain", "HTTP/1.1", nil},
		{"", "HTTP/1.1", nil},
	} {
		s := filtertest.New()
		s.StreamInfo.Protocol, s.StreamInfo.Upstream.Cluster = tc.client, tc.cluster
		f := filtertest.Filter(t, Kind(protocols), cfg, s)
		if v := f.RequestHeaders(s, s.Req, true); v != filter.Continue {
			t.Errorf("verdict %v", v)
		}
		if d := cmp.Diff(tc.want, s.StreamInfo.UpstreamALPN); d != "" {
			t.Errorf("%s to %q: %s", tc.client, tc.cluster, d)
		}
	}
}

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind(protocols).Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `,"alpnOverride":[{"alpnOverride":[""]}]}`:  "alpn_override[0].alpn_override",
		typ + `,"alpnOverride":[{"upstreamProtocol":9}]}`: "alpn_override[0].upstream_protocol",
	})
}

func TestNoAllocations(t *testing.T) {
	s := filtertest.New()
	s.StreamInfo.Protocol, s.StreamInfo.Upstream.Cluster = "HTTP/1.1", "c"
	f := filtertest.Filter(t, Kind(protocols), typ+`,"alpnOverride":[{"upstreamProtocol":"HTTP11","alpnOverride":["istio"]}]}`, s)
	if n := testing.AllocsPerRun(100, func() { f.RequestHeaders(s, s.Req, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
