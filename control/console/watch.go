package console

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate"
)

// Local is what a supervisor on this machine runs for the mesh.
type Local struct {
	Version   uint64
	Mesh      *model.Mesh
	Processes []*model.Process
	Gateways  []*model.Gateway
	Services  []*model.Service
	Accounts  []*model.ServiceAccount
	// ProxyConfigs say how proxies are run; see model.ProxySettingsOf.
	ProxyConfigs []*model.ProxyConfig
	// Bootstraps are patches of what proxies begin with, in the order in which they apply.
	Bootstraps []model.BootstrapPatch
}

// stream writes one JSON value per line.
type stream struct {
	enc *json.Encoder
	rc  *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{json.NewEncoder(w), http.NewResponseController(w)}
	_ = s.rc.Flush() // the reader learns that it is connected
	return s
}

func (s *stream) send(v any) error {
	if err := s.enc.Encode(v); err != nil {
		return err
	}
	return s.rc.Flush()
}

// events streams what happens from now on.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	events, stop := c.Proxies.Subscribe()
	defer stop()
	s := newStream(w)
	for {
		select {
		case e := <-events:
			if s.send(e) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// local streams what a supervisor should run: the whole, at each change.
func (c *Console) local(w http.ResponseWriter, r *http.Request) {
	s := newStream(w)
	var last [7]any
	for {
		changed := c.Snapshots.Changed()
		if snap := c.Snapshots.Load(); snap != nil {
			// By content: a snapshot in which only other kinds changed is no news.
			now := [7]any{
				sum(snap.Processes), sum(snap.Gateways), sum(snap.Services), sum(snap.Accounts), sum(snap.ProxyConfigs), sum(snap.EnvoyFilters), hash(snap.Mesh),
			}
			if now != last {
				last = now
				if s.send(Local{snap.Version, snap.Mesh, snap.Processes, snap.Gateways, snap.Services, snap.Accounts, snap.ProxyConfigs, translate.Bootstraps(snap)}) != nil {
					return
				}
			}
		}
		if !wait(r.Context(), changed) {
			return
		}
	}
}

func wait(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

func hash(m *model.Mesh) uint64 {
	if m == nil {
		return 0
	}
	return m.Hash
}

// sum combines the hashes of a sorted list of objects.
func sum[T model.Object](list []T) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for _, o := range list {
		meta := o.Head()
		h = (h ^ meta.Hash) * prime
		for _, b := range []byte(meta.Key.Namespace + "/" + meta.Key.Name) {
			h = (h ^ uint64(b)) * prime
		}
	}
	return h
}
