package up

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/wire"
)

// client talks to the console, whose process may come and go.
func (m *mesh) client() *http.Client {
	path := m.dir.Join(wire.ConsoleSocket)
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

// get decodes one answer of the console.
func (m *mesh) get(ctx context.Context, path string, v any) error {
	body, err := m.open(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(v)
}

func (m *mesh) open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weft"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.client().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("console: %s", resp.Status)
	}
	return resp.Body, nil
}

// follow reads a stream of values for as long as ctx lasts, connecting again
// when it breaks.
func follow[T any](ctx context.Context, m *mesh, path string, each func(T)) error {
	retry := backoff.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		if body, err := m.open(ctx, path); err == nil {
			retry.Reset()
			dec := json.NewDecoder(body)
			for {
				var v T
				if dec.Decode(&v) != nil {
					break
				}
				each(v)
			}
			body.Close()
		}
		if err := retry.Wait(ctx); err != nil {
			return err
		}
	}
}

// followLocal has the host run what the control plane says.
func (m *mesh) followLocal(ctx context.Context) error {
	var version uint64
	return follow(ctx, m, "/v1/local", func(l console.Local) {
		if l.Version < version {
			version = 0 // the control plane has started anew
		}
		version = l.Version
		want := spec(l, m.Engine)
		schemes := map[uint16]string{}
		for _, g := range want.Gateways {
			for _, p := range g.HostPorts {
				if p.Scheme != host.SchemeUDP { // of which host says the scheme itself
					schemes[p.Port] = p.Scheme
				}
			}
		}
		m.mu.Lock()
		m.schemes = schemes
		m.mu.Unlock()
		if err := m.host.Apply(want); err != nil {
			m.report.say(bad, "%v", err)
		}
		m.applied.Store(true)
	})
}

// followEvents tells what changed and who got it.
func (m *mesh) followEvents(ctx context.Context) error {
	return follow(ctx, m, "/v1/events", func(e fleet.Event) {
		m.report.event(e)
	})
}

// showFindings prints what is wrong with the folder at the start: the events
// only tell what is new after somebody has begun to listen.
func (m *mesh) showFindings(ctx context.Context) {
	var list []model.Finding
	if m.get(ctx, "/v1/findings", &list) == nil {
		m.report.findings(list)
	}
}
