// Package eureka reads the applications of Eureka servers, which tell nothing by themselves: it asks every
// model.Registry.Refresh. Instances that are not UP take no traffic.
package eureka

import (
	"bytes"
	"context"
	"encoding/json"
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

// Client reads one cluster of servers, which all have the same.
type Client struct {
	spec   *model.Registry
	bases  []*url.URL
	client *http.Client
}

// New is a registry.Maker.
func New(r *model.Registry, _ *slog.Logger) (registry.Client, error) {
	c := &Client{spec: r, client: &http.Client{Timeout: patience, Transport: http.DefaultTransport.(*http.Transport).Clone()}}
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
	var last uint64
	var names []string
	for {
		body, err := c.ask(ctx)
		if err != nil {
			return err
		}
		if sum := xxhash.Sum64(body); sum != last || last == 0 {
			list, err := read(body)
			if err != nil {
				return err
			}
			last, names = sum, nil
			for _, s := range list {
				to.Service(s)
				names = append(names, s.Name)
			}
		}
		to.Complete(names)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask asks the servers in turn until one answers.
func (c *Client) ask(ctx context.Context) ([]byte, error) {
	var failed []error
	for _, base := range c.bases {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("apps").String(), http.NoBody)
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
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", r.URL.Redacted(), a.Status)
	}
	return io.ReadAll(io.LimitReader(a.Body, largest))
}

// list is a JSON array, or the one element of it that old servers write in its place.
type list[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		return json.Unmarshal(raw, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

type application struct {
	Name     string
	Instance list[instance]
}

type instance struct {
	InstanceID string `json:"instanceId"`
	IPAddr     string `json:"ipAddr"`
	Status     string
	Port       port
	SecurePort port
	Metadata   map[string]any
}

type port struct {
	Number  uint16 `json:"$"`
	Enabled any    `json:"@enabled"` // "true", or true
}

func (p port) on() bool { return fmt.Sprint(p.Enabled) == "true" && p.Number != 0 }

// read reads all applications.
func read(body []byte) ([]registry.Service, error) {
	var all struct {
		Applications *struct {
			Application list[application]
		}
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	if all.Applications == nil {
		return nil, errors.New("no applications in the answer: is it Eureka?")
	}
	var out []registry.Service
	for _, app := range all.Applications.Application {
		s := registry.Service{Name: strings.ToLower(app.Name)}
		for _, i := range app.Instance {
			in := registry.Instance{Address: i.IPAddr, Port: i.Port.Number, Off: i.Status != "UP", Labels: map[string]string{}}
			if !i.Port.on() && i.SecurePort.on() {
				in.Port, in.Protocol = i.SecurePort.Number, model.HTTPS
			}
			for k, v := range i.Metadata {
				if text, ok := v.(string); ok && !strings.HasPrefix(k, "@") {
					in.Labels[k] = text
				}
			}
			in.Labels["instanceId"] = i.InstanceID
			s.Instances = append(s.Instances, in)
		}
		out = append(out, s)
	}
	return out, nil
}
