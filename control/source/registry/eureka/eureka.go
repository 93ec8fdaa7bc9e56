// Package eureka follows the applications of Eureka servers, which tell nothing by themselves: it asks every
// model.Registry.Refresh for what has changed (the delta), and for everything at first and where the two do not add up, as Eureka's own
// clients do. Servers without deltas are asked for everything each time. Instances that are not UP take no traffic.
package eureka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

const (
	patience = 10 * time.Second
	largest  = 64 << 20
	// usualPath is where Spring's servers have their API.
	usualPath = "/eureka"
)

// errRefused: the server answers, and not with what was asked for.
var errRefused = errors.New("is refused")

// Client reads one cluster of servers, which all have the same.
type Client struct {
	spec   *model.Registry
	bases  []*url.URL
	client *http.Client
	log    *slog.Logger
}

// New is a registry.Maker.
func New(r *model.Registry, log *slog.Logger) (registry.Client, error) {
	t, err := registry.Transport(r)
	if err != nil {
		return nil, err
	}
	c := &Client{spec: r, client: &http.Client{Timeout: patience, Transport: t}, log: log}
	for _, a := range r.Addresses {
		u, err := url.Parse(strings.TrimSuffix(a, "/"))
		if err != nil {
			return nil, err
		}
		if u.Path == "" {
			u.Path = usualPath
		}
		if r.Username != "" {
			u.User = url.UserPassword(r.Username, string(r.Password))
		}
		c.bases = append(c.bases, u)
	}
	return c, nil
}

// Follow implements registry.Client: it ends when no server answers.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	defer c.client.CloseIdleConnections()
	ticker := time.NewTicker(c.spec.Refresh)
	defer ticker.Stop()
	f := &follower{c: c, b: newBook(to), deltas: true}
	for {
		if err := f.step(ctx); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follower is one run of Follow.
type follower struct {
	c *Client
	b *book
	// read: it has all been read once; deltas: the server has these.
	read, deltas bool
	// last is of the answer before: the same again has no news. 0: there was none that added up.
	last uint64
}

// step asks once.
func (f *follower) step(ctx context.Context) error {
	if f.read && f.deltas {
		if done, err := f.change(ctx); done || err != nil {
			return err
		}
	}
	body, err := f.c.ask(ctx, "apps")
	if err != nil {
		return err
	}
	if sum := xxhash.Sum64(body); f.deltas || !f.read || sum != f.last {
		if err := f.b.replace(body); err != nil {
			return err
		}
		if f.last, f.read = sum, true; f.deltas {
			f.last = 0
		}
	}
	f.b.complete()
	return nil
}

// change asks for what has changed; done tells whether that is all there is to know.
func (f *follower) change(ctx context.Context) (done bool, err error) {
	body, err := f.c.ask(ctx, "apps/delta")
	if errors.Is(err, errRefused) {
		f.c.log.Info("the server has no deltas, asking for everything", "error", err)
		f.deltas = false
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum := xxhash.Sum64(body)
	if sum == f.last {
		f.b.complete()
		return true, nil
	}
	if done, err = f.b.change(body); err != nil {
		return false, err
	}
	if !done {
		// What is missing was too long ago, or the server was started again, or the two answers are of different times.
		f.last = 0
		f.c.log.Debug("the delta does not add up, asking for everything")
		return false, nil
	}
	f.last = sum
	f.b.complete()
	return true, nil
}

// ask asks the servers in turn until one answers.
func (c *Client) ask(ctx context.Context, path string) ([]byte, error) {
	var failed []error
	for _, base := range c.bases {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/json")
		body, err := c.do(r)
		if err == nil {
			return body, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func (c *Client) do(r *http.Request) ([]byte, error) {
	a, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	switch a.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(a.Body, largest))
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return nil, fmt.Errorf("%s %w: %s", r.URL.Redacted(), errRefused, a.Status)
	}
	return nil, fmt.Errorf("%s: %s", r.URL.Redacted(), a.Status)
}
