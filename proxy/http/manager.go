package http

import (
	"strings"
	"sync"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/router"
)

// Manager is an HTTP connection manager.
type Manager struct {
	// Set at construction.
	cfg    ManagerConfig
	router router.Config
	stats  *ManagerStats
	calls  sync.Pool // *call

	mu sync.Mutex
	// guarded by mu
	conns map[*conn]struct{}
}

var _ filter.Terminal = (*Manager)(nil)

// New checks cfg and makes a Manager of it.
func New(cfg ManagerConfig) (*Manager, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, stats: cfg.Stats.Prefix(cfg.StatPrefix), conns: map[*conn]struct{}{}}
	m.router = router.Config{
		Clusters: cfg.Clusters, Stats: &m.stats.Router, BufferLimit: cfg.BufferLimit,
		Messages:        cfg.Messages,
		SuppressHeaders: cfg.SuppressEnvoyHeaders, RespectExpectedTimeout: cfg.RespectExpectedTimeout,
	}
	if cfg.Tracer != nil && cfg.TraceAttempts {
		m.router.Attempt = cfg.Tracer.Attempt
	}
	m.calls.New = func() any { return newCall(m) }
	return m, nil
}

// Serve implements filter.Terminal.
func (m *Manager) Serve(c stream.Conn, info *filter.ConnInfo, done func()) {
	d := newConn(m, c, info, done)
	m.mu.Lock()
	m.conns[d] = struct{}{}
	m.mu.Unlock()
	if info.Resumed == nil {
		m.stats.CxTotal.Add(1)
	}
	m.stats.CxActive.Add(1)
	d.lane.Do(d.open)
}

// Drain implements filter.Terminal: idle HTTP/1 connections move, if there is where
// to; the others close with their next response, for an idle one that was closed
// could cross the client's next request; HTTP/2 ones get a GOAWAY, and close when idle after the drain timeout.
func (m *Manager) Drain() {
	m.mu.Lock()
	all := make([]*conn, 0, len(m.conns))
	for c := range m.conns {
		all = append(all, c)
	}
	m.mu.Unlock()
	for _, c := range all {
		c.lane.Do(c.leave)
	}
}

func (m *Manager) remove(c *conn) {
	m.mu.Lock()
	delete(m.conns, c)
	m.mu.Unlock()
}

// upgrade tells whether the connection manager permits an upgrade, and with
// which filters: nil for the usual chain.
func (m *Manager) upgrade(token string) (*Upgrade, bool) {
	for i := range m.cfg.Upgrades {
		if u := &m.cfg.Upgrades[i]; strings.EqualFold(u.Type, token) {
			return u, u.Enabled
		}
	}
	return nil, false
}
