package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/wire"
)

// Edge is one row of `weft graph`: who calls whom.
type Edge struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Version     string `json:"version,omitempty"`
	Protocol    string `json:"protocol"`
	// Rate is in requests (connections for TCP) per second; Success a share from 0 to 1.
	Rate    float64 `json:"rate"`
	Success float64 `json:"success"`
	// P50 and P99 in milliseconds; -1 without requests.
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	MTLS bool    `json:"mtls"`
}

type edgeKey struct{ source, destination, version, protocol string }

// edgeSum is what the metrics of all proxies say about one edge at one moment:
// as the client's side has counted it, and as the server's.
type edgeSum struct {
	client, server sideSum
	mtls           bool
}

type sideSum struct {
	requests, failed float64
	time             buckets
}

func (e *Env) graphCommand() *cobra.Command {
	var interval time.Duration
	var once bool
	c := &cobra.Command{
		Use:   "graph",
		Short: "Show who calls whom: rate, success, latency, mTLS",
		Long: `Graph reads the proxies' own metrics twice and shows what happened between: requests per
second (connections per second for TCP), the share that succeeded (no 5xx, gRPC status 0), and
latency as the client's side saw it (the server's, where no proxy of a client counts: no
sidecar, or copies of mirrored requests). With --capture proxy servers cannot tell clients apart:
MTLS is yes there when all that a server got was so, and a server's own rows, of the client
"unknown", are shown only of what no client's proxy has counted, or came partly in plain text. In a
terminal it goes on until interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			live := !once && (e.output == "" || e.output == "table") && terminal(out)
			before, err := e.edges(c.Context())
			for err == nil {
				if err := pause(c.Context(), interval); err != nil {
					return nil //nolint:nilerr // interrupted: the ordinary end
				}
				var now map[edgeKey]*edgeSum
				if now, err = e.edges(c.Context()); err != nil {
					break
				}
				list := between(before, now, interval)
				before = now
				if !live {
					return e.print(c, list, func() *Table { return edgeTable(list) })
				}
				redraw(out, list)
			}
			return err
		},
	}
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "how long to look")
	c.Flags().BoolVar(&once, "once", false, "print one table and end, also in a terminal")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

func redraw(out io.Writer, list []Edge) {
	fmt.Fprint(out, "\x1b[H\x1b[2J")
	edgeTable(list).Write(out, Colour(out))
	fmt.Fprintf(out, "\n%s  Ctrl-C ends\n", time.Now().Format(time.TimeOnly))
}

// edges sums the metrics by edge.
func (e *Env) edges(ctx context.Context) (map[edgeKey]*edgeSum, error) {
	samples, err := e.scrape(ctx)
	if err != nil {
		return nil, err
	}
	out := map[edgeKey]*edgeSum{}
	for i := range samples {
		samples[i].addRequests(out)
		samples[i].addConnections(out)
	}
	secure, plain := map[edgeKey]bool{}, map[edgeKey]bool{}
	for i := range samples {
		samples[i].secured(secure, plain)
	}
	for k, sum := range out {
		sum.mtls = sum.mtls || secure[k]
	}
	if e.sharesAddress(ctx) {
		fold(out, plain)
	}
	return out, nil
}

// sharesAddress tells whether all workloads have one address (capture mode proxy), so that
// servers cannot tell their clients apart.
func (e *Env) sharesAddress(ctx context.Context) bool {
	sup, err := e.supervisor()
	var info wire.MeshInfo
	return err == nil && sup.get(ctx, "/v1/mesh", nil, &info) == nil && info.Capture == "proxy"
}

// fold makes one row of two: what servers have counted of clients that they cannot tell apart,
// all with mutual TLS, is what those clients' own proxies have counted.
func fold(out map[edgeKey]*edgeSum, plain map[edgeKey]bool) {
	const unknown = "unknown"
	for k, sum := range out {
		if k.source != unknown || !sum.mtls || plain[k] {
			continue
		}
		for other, s := range out {
			if same := (edgeKey{unknown, other.destination, other.version, other.protocol}); other.source != unknown && same == k && s.client.requests > 0 {
				s.mtls = true
				delete(out, k)
			}
		}
	}
}

func keyOf(l map[string]string) edgeKey {
	version := l["destination_version"]
	if version == "unknown" || version == "latest" {
		version = "" // a client that is not told by its server takes the canonical revision, which is "latest" without the label
	}
	return edgeKey{
		cmp.Or(l["source_workload"], "unknown"),
		cmp.Or(known(l["destination_service_name"]), known(l["destination_workload"]), known(l["destination_service"]), "unknown"),
		version, cmp.Or(l["request_protocol"], "tcp"),
	}
}

// secured notes the edges that the server's side saw mutual TLS on, and those on which it saw
// something else: as in Istio, the client's side does not say.
func (s *sample) secured(out, plain map[edgeKey]bool) {
	for _, name := range []string{"istio_requests_total", "istio_tcp_connections_opened_total"} {
		for _, m := range s.families[name].GetMetric() {
			switch l := labels(m); {
			case l["reporter"] != "destination":
			case l["connection_security_policy"] == "mutual_tls":
				out[keyOf(l)] = true
			default:
				plain[keyOf(l)] = true
			}
		}
	}
}

func known(s string) string {
	if s == "unknown" {
		return ""
	}
	return s
}

// sumOf returns the sum that a metric with these labels counts for.
func sumOf(out map[edgeKey]*edgeSum, l map[string]string) *sideSum {
	k := keyOf(l)
	s := out[k]
	if s == nil {
		s = &edgeSum{client: sideSum{time: buckets{}}, server: sideSum{time: buckets{}}}
		out[k] = s
	}
	if l["reporter"] == "destination" {
		return &s.server
	}
	return &s.client
}

func (s *sample) addRequests(out map[edgeKey]*edgeSum) {
	for _, m := range s.families["istio_requests_total"].GetMetric() {
		l := labels(m)
		sum := sumOf(out, l)
		sum.requests += value(m)
		grpc := l["grpc_response_status"]
		if code := l["response_code"]; code == "0" || strings.HasPrefix(code, "5") || grpc != "" && grpc != "0" {
			sum.failed += value(m)
		}
	}
	for _, m := range s.families["istio_request_duration_milliseconds"].GetMetric() {
		sumOf(out, labels(m)).time.add(m.GetHistogram(), 1)
	}
}

func (s *sample) addConnections(out map[edgeKey]*edgeSum) {
	for _, m := range s.families["istio_tcp_connections_opened_total"].GetMetric() {
		sumOf(out, labels(m)).requests += value(m)
	}
}

// between makes rates of two moments. The client's side is preferred; the
// server's counts for clients without a proxy, and for the copies of mirrored
// requests, which a client's proxy does not count.
func between(before, now map[edgeKey]*edgeSum, d time.Duration) []Edge {
	list := []Edge{}
	for k, n := range now {
		b := before[k]
		if b == nil {
			b = &edgeSum{}
		}
		was, is := &b.client, &n.client
		if is.requests <= was.requests {
			was, is = &b.server, &n.server
		}
		edge := Edge{Source: k.source, Destination: k.destination, Version: k.version, Protocol: k.protocol, MTLS: n.mtls, Success: 1, P50: -1, P99: -1}
		requests := max(0, is.requests-was.requests)
		edge.Rate = requests / d.Seconds()
		if requests > 0 {
			edge.Success = 1 - max(0, is.failed-was.failed)/requests
		}
		diff := buckets{}
		for x, v := range is.time {
			diff[x] = v - was.time[x]
		}
		if p := diff.quantile(.5); !math.IsNaN(p) {
			edge.P50, edge.P99 = p, diff.quantile(.99)
		}
		list = append(list, edge)
	}
	slices.SortFunc(list, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Protocol, b.Protocol))
	})
	return slices.DeleteFunc(list, past)
}

// past tells whether a row has nothing to say any more: no request lately, and
// none before that reached an instance of the mesh.
func past(e Edge) bool { return e.Rate == 0 && e.Version == "" && !e.MTLS }

func edgeTable(list []Edge) *Table {
	t := &Table{Head: []string{"SOURCE", "DESTINATION", "VERSION", "PROTOCOL", "RATE/S", "SUCCESS", "P50", "P99", "MTLS"}, Empty: "no traffic yet"}
	for _, x := range list {
		success := Cell{fmt.Sprintf("%.1f%%", 100*x.Success), Good}
		if x.Success < 1 {
			success.Style = Warn
		}
		if x.Success < .95 {
			success.Style = Bad
		}
		if x.Rate == 0 {
			success = Cell{}
		}
		mtls := Cell{"no", Warn}
		if x.MTLS {
			mtls = Cell{"yes", Good}
		}
		t.Row(x.Source, x.Destination, x.Version, x.Protocol, fmt.Sprintf("%.1f", x.Rate), success, millis(x.P50), millis(x.P99), mtls)
	}
	return t
}

func millis(ms float64) string {
	switch {
	case ms < 0:
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.2fms", ms)
	}
	return fmt.Sprintf("%.0fms", ms)
}
