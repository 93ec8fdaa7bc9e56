package telemetry

import (
	"cmp"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// side is what a series knows of both ends.
type side struct {
	outbound, waypoint bool
	peer               *Peer  // the other end, where only its address is known
	uri                string // the other end's identity
	service            filter.ServiceRef
	// workload is the other end, server that which a waypoint stands before.
	workload, server filter.WorkloadRef
}

// sides returns the labels from reporter to destination_cluster.
func (m *Metrics) sides(s side) []string {
	// Who has shown a certificate has a namespace: what it tells of itself does not
	// go before that, what the control plane knows of its address does.
	proven := namespaceOf(s.uri)
	other := s.workload
	if other == (filter.WorkloadRef{}) {
		other = s.peer.Ref()
		other.Namespace = cmp.Or(other.Namespace, proven)
	} else {
		other.Namespace = cmp.Or(proven, other.Namespace)
	}
	own := ""
	if s.uri != "" {
		own = m.uri(s.uri)
	}
	reporter, source, dest := "destination", other, m.local
	sourceURI, destURI := s.uri, own
	switch {
	case s.waypoint:
		reporter, dest, destURI = "waypoint", s.server, ""
	case s.outbound:
		reporter, source, dest = "source", m.local, other
		sourceURI, destURI = own, s.uri
	}
	svc := s.service
	if svc.Host == "" && (!s.outbound || s.waypoint) {
		// A workload called by no service's port is its own destination.
		svc = filter.ServiceRef{Host: dest.Service, Name: cmp.Or(svc.Name, dest.Service), Namespace: dest.Namespace}
	}
	out := make([]string, 0, len(requestLabels))
	out = append(out, reporter)
	out = append(out, workloadLabels(source, sourceURI)...)
	out = append(out, known(source.Service), cmp.Or(source.Revision, "latest"), known(source.Cluster))
	out = append(out, workloadLabels(dest, destURI)...)
	return append(out, known(svc.Host), known(svc.Name), known(cmp.Or(svc.Namespace, dest.Namespace)),
		known(dest.Service), cmp.Or(dest.Revision, "latest"), known(dest.Cluster))
}

// namespaceOf is that of a SPIFFE name, "" for others.
func namespaceOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "/ns/")
	ns, _, _ := strings.Cut(rest, "/")
	return ns
}

// uri is the local workload's identity, in the trust domain of its peer's: both
// were checked against the same roots.
func (m *Metrics) uri(peerURI string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(peerURI, "spiffe://"), "/")
	if m.local.Namespace == "" || domain == "" {
		return ""
	}
	return "spiffe://" + domain + "/ns/" + m.local.Namespace + "/sa/" + m.local.Account
}

// workloadLabels returns workload, namespace, principal, app, version.
func workloadLabels(w filter.WorkloadRef, uri string) []string {
	return []string{known(w.Name), known(w.Namespace), known(uri), known(w.App), known(w.Version)}
}

func known(s string) string { return cmp.Or(s, "unknown") }
