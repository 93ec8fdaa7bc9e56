package scope

import (
	"github.com/weftmesh/weft/control/model"
)

// Index is a snapshot prepared for look-ups.
type Index struct {
	Snapshot *model.Snapshot
	Mesh     *model.Mesh
}

// NewIndex prepares a snapshot. Its cost is linear in the snapshot.
func NewIndex(s *model.Snapshot) *Index {
	return &Index{Snapshot: s, Mesh: s.Mesh}
}

// View is what one proxy sees.
type View struct {
	Index *Index
	Proxy *Proxy
	Mesh  *model.Mesh
}

// Build makes the view of one proxy.
func Build(idx *Index, p Proxy) *View {
	return &View{Index: idx, Proxy: &p, Mesh: idx.Mesh}
}
