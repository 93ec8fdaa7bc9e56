package control

import (
	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/apiserver"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/status"
)

// report has the status of objects written into the cluster that they are of; where there is
// none, nothing.
func report(home *cluster.Cluster, con *console.Console, proxies *fleet.Fleet, snapshots *watch.Cell[*model.Snapshot], o Options) error {
	if home == nil {
		return nil
	}
	kinds := status.Kinds(file.NewDecoder())
	w, err := status.New(home.Config(), status.Options{
		Kinds: kinds, Log: o.Log, Changed: changes(proxies, snapshots),
		Reports: func() []status.Report { return reports(con, snapshots.Load(), kinds) },
	})
	if err != nil {
		return err
	}
	home.Write(w.Run)
	return nil
}

// changes says when statuses may be different: what reaches proxies is an event of the fleet's.
func changes(proxies *fleet.Fleet, snapshots *watch.Cell[*model.Snapshot]) func() (<-chan struct{}, func()) {
	return func() (<-chan struct{}, func()) {
		events, stop := proxies.Subscribe()
		out, ended := make(chan struct{}, 1), make(chan struct{})
		go func() {
			for {
				select {
				case <-ended:
					return
				case <-snapshots.Changed():
				case <-events:
				}
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}()
		return out, func() { close(ended); stop() }
	}
}

// shown is the status of an object as others than the Gateway API's have it. How far the proxies
// are is not in it: each pod that comes and goes would change it everywhere.
type shown struct {
	Conditions []console.Condition `json:"conditions"`
	Messages   []console.Message   `json:"validationMessages,omitempty"`
	console.SlimeStatus
}

// reports are the statuses of a cluster's objects.
func reports(con *console.Console, s *model.Snapshot, kinds map[model.Kind][]status.Kind) []status.Report {
	if s == nil {
		return nil
	}
	var out []status.Report
	for _, sum := range con.Statuses(func(k model.Key) bool { _, ok := kinds[k.Kind]; return ok }) {
		generation, source := int64(0), ""
		if o := s.Objects.Get(sum.Key); o != nil {
			source = o.Head().Origin.Source
			if o.Head().Of != (model.Key{}) {
				continue // nobody has written it
			}
			if !fallback(sum.Findings) {
				generation = o.Head().Generation
			}
		} else if len(sum.Findings) > 0 {
			source = sum.Findings[0].Origin.Source
		}
		if source != apiserver.Name {
			continue
		}
		out = append(out, status.Report{Object: sum.Key, Generation: generation, Status: form(&sum)})
	}
	return out
}

// fallback tells whether the version before is in force.
func fallback(list []model.Finding) bool {
	for _, f := range list {
		if f.Code == document.CodeLastGood {
			return true
		}
	}
	return false
}

// form is the status as it is written.
func form(sum *console.ObjectSummary) any {
	if sum.Status.GatewayAPI != nil {
		return sum.Status.GatewayAPI
	}
	out := shown{Messages: sum.Status.Messages, SlimeStatus: sum.Status.SlimeStatus}
	for _, c := range sum.Status.Conditions {
		switch c.Type {
		case finding.Accepted, finding.ResolvedRefs, finding.Conflicted:
			out.Conditions = append(out.Conditions, c)
		}
	}
	return out
}
