package cli

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestEdgesOfOneAddress: where servers cannot tell clients apart (capture mode proxy), a call
// is one row; what came in plain text, or from clients without a proxy, stays another.
func TestEdgesOfOneAddress(t *testing.T) {
	const client = `istio_requests_total{reporter="source",source_workload="load",destination_service_name="%s",destination_version="v1",request_protocol="http",response_code="200"} 8
`
	const server = `istio_requests_total{reporter="destination",source_workload="unknown",destination_service_name="%s",destination_version="v1",request_protocol="http",response_code="200",connection_security_policy="%s"} 8
`
	text := fmt.Sprintf(client, "web") + fmt.Sprintf(client, "mixed")
	said := "# TYPE istio_requests_total counter\n"
	s := sample{families: families(t, said+text+fmt.Sprintf(server, "web", "mutual_tls")+fmt.Sprintf(server, "mixed", "mutual_tls")+
		fmt.Sprintf(server, "mixed", "none")+fmt.Sprintf(server, "alone", "mutual_tls"))}
	sums, secure, plain := map[edgeKey]*edgeSum{}, map[edgeKey]bool{}, map[edgeKey]bool{}
	s.addRequests(sums)
	s.secured(secure, plain)
	for k, sum := range sums {
		sum.mtls = secure[k]
	}
	fold(sums, plain)
	var got []string
	for _, e := range between(nil, sums, time.Second) {
		got = append(got, fmt.Sprintf("%s→%s %v", e.Source, e.Destination, e.MTLS))
	}
	want := []string{"load→mixed false", "load→web true", "unknown→alone true", "unknown→mixed true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
