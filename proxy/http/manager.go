package http

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// Manager is an HTTP connection manager.
type Manager struct {
	cfg ManagerConfig
}

var _ filter.Terminal = (*Manager)(nil)

// New checks cfg and makes a Manager of it.
func New(cfg ManagerConfig) (*Manager, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg}, nil
}

// Serve implements filter.Terminal.
func (m *Manager) Serve(c stream.Conn, info *filter.ConnInfo, done func()) {
	panic("BUG: being built")
}

// Drain implements filter.Terminal.
func (m *Manager) Drain() { panic("BUG: being built") }
