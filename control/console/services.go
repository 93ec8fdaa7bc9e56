package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// ServiceRow is one service as the table of `weft up` shows it.
type ServiceRow struct {
	Service   string   `json:"service"`
	Namespace string   `json:"namespace"`
	Host      string   `json:"host"`
	Versions  []string `json:"versions"`
	Ready     int      `json:"ready"`
	Replicas  int      `json:"replicas"`
	// Protocols of the ports, in their order, each once; "auto" is found out by
	// the proxies.
	Protocols []string `json:"protocols"`
	// MTLS is the mode that the service's workloads demand, "mixed" when they
	// differ, "-" outside the mesh.
	MTLS    string `json:"mtls"`
	Address string `json:"address"`
}

func (c *Console) services(w http.ResponseWriter, _ *http.Request) {
	s := c.Snapshots.Load()
	if s == nil {
		fail(w, http.StatusServiceUnavailable, "no configuration yet")
		return
	}
	reply(w, serviceRows(s))
}

func serviceRows(s *model.Snapshot) []ServiceRow {
	out := make([]ServiceRow, 0, len(s.Services))
	for _, svc := range s.Services {
		if svc.Instance != "" {
			continue
		}
		row := ServiceRow{Service: svc.Name, Namespace: svc.Namespace, Host: svc.Host, MTLS: "-", Versions: []string{}, Protocols: []string{}}
		for _, p := range svc.Ports {
			if proto := cmp.Or(string(p.Protocol), "auto"); !slices.Contains(row.Protocols, proto) {
				row.Protocols = append(row.Protocols, proto)
			}
		}
		if len(svc.VIPs) > 0 {
			row.Address = svc.VIPs[0].Addr().String()
		}
		if svc.Headless {
			row.Address = "headless"
		}
		addWorkloads(&row, s, svc)
		if svc.FromEntry {
			row.Service = svc.Host
			row.Replicas += len(svc.Inline)
			row.Ready += len(svc.Inline)
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b ServiceRow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service))
	})
	return out
}

func addWorkloads(row *ServiceRow, s *model.Snapshot, svc *model.Service) {
	if svc.Selector == nil {
		return
	}
	for _, w := range s.Workloads {
		if w.Namespace != svc.Namespace || !model.Matches(svc.Selector, w.Labels) {
			continue
		}
		row.Replicas++
		if w.Ready {
			row.Ready++
		}
		if v := w.Labels["version"]; v != "" && !slices.Contains(row.Versions, v) {
			row.Versions = append(row.Versions, v)
		}
		switch mode := mtls(s, w); row.MTLS {
		case "-", mode:
			row.MTLS = mode
		default:
			row.MTLS = "mixed"
		}
	}
	slices.Sort(row.Versions)
}

// mtls names the mode that a workload demands of its clients: the most
// specific PeerAuthentication that says something, permissive without one.
func mtls(s *model.Snapshot, w *model.Workload) string {
	if !w.Mesh {
		return "off"
	}
	best, mode := -1, model.MTLSPermissive
	for _, p := range s.PeerAuths {
		rank := -1
		switch {
		case p.Selector == nil && p.Key.Namespace == s.Mesh.RootNamespace:
			rank = 0
		case p.Selector == nil && p.Key.Namespace == w.Namespace:
			rank = 1
		case p.Selector != nil && p.Key.Namespace == w.Namespace && model.Matches(p.Selector, w.Labels):
			rank = 2
		}
		if rank > best && p.Mode != model.MTLSUnset {
			best, mode = rank, p.Mode
		}
	}
	return strings.ToLower(mode.String())
}
