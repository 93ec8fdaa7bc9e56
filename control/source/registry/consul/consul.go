// Package consul follows the services of a Consul datacenter over its HTTP API, by blocking queries: one for the list of services, and one for the
// health of each.
//
// An instance takes traffic unless one of its checks is critical; its weight is that of its state. Proxies and gateways of
// Consul's own mesh are no instances, and those that are natively in it (Connect native) cannot be used: their certificates are of
// another authority. A service that has such a proxy beside it is called past that.
package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/registry"
)

const (
	// wait is how long the server holds a query without news. It adds up to 1/16 of it; grace is for the way.
	wait  = time.Minute
	grace = 10 * time.Second
	// largest is how large an answer may be.
	largest = 64 << 20
)

// Client follows one datacenter through one of its agents.
type Client struct {
	spec   *model.Registry
	client *http.Client
	next   int // which address is asked
}

// New is a registry.Maker.
func New(r *model.Registry, _ *slog.Logger) (registry.Client, error) {
	t, err := registry.Transport(r)
	if err != nil {
		return nil, err
	}
	t.MaxIdleConnsPerHost = 64
	return &Client{spec: r, client: &http.Client{Transport: t}, next: -1}, nil
}

// Follow implements registry.Client. Each time it asks the next of the addresses.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	defer c.client.CloseIdleConnections()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c.next = (c.next + 1) % len(c.spec.Addresses)
	g := registry.NewGather(ctx, to, fail, c.service)
	defer g.Wait()
	defer fail(nil)
	err := watch(ctx, c, "/v1/catalog/services", func(services map[string][]string, hidden bool) error {
		if len(services) == 0 && hidden {
			return errors.New("the token may read no service: give it service_prefix \"\" and node_prefix \"\" with the policy read")
		}
		g.Set(slices.Collect(maps.Keys(services)))
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watch asks a question again whenever the answer is another, until ctx ends or it fails. News are told with whether some of
// it is hidden from the token.
func watch[T any](ctx context.Context, c *Client, path string, news func(answer T, hidden bool) error) error {
	var index uint64
	for {
		a, err := c.ask(ctx, path, index)
		if err != nil {
			return err
		}
		if a.index != index || index == 0 {
			var of T
			if err := json.Unmarshal(a.body, &of); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if err := news(of, a.hidden); err != nil {
				return err
			}
		}
		// An index that goes back is that of another state, and one of zero would not block.
		if a.index < index {
			a.index = 0
		}
		index = max(a.index, 1)
	}
}

// answer is what the server says to a question.
type answer struct {
	body   []byte
	index  uint64
	hidden bool // the token may not see all
}

// ask asks once.
func (c *Client) ask(ctx context.Context, path string, index uint64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+wait/16+grace)
	defer cancel()
	q := url.Values{}
	for key, v := range map[string]string{"dc": c.spec.Datacenter, "ns": c.spec.Scope, "partition": c.spec.Partition} {
		if v != "" {
			q.Set(key, v)
		}
	}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
		q.Set("wait", wait.String())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.spec.Addresses[c.next], "/")+path+"?"+q.Encode(), http.NoBody)
	if err != nil {
		return answer{}, err
	}
	if len(c.spec.Token) > 0 {
		r.Header.Set("X-Consul-Token", string(c.spec.Token))
	}
	a, err := c.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, largest))
	if err != nil {
		return answer{}, err
	}
	if a.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s: %.200s", path, a.Status, strings.TrimSpace(string(body)))
	}
	now, err := strconv.ParseUint(a.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return answer{}, fmt.Errorf("%s: no X-Consul-Index: is it Consul?", path)
	}
	return answer{body, now, a.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true"}, nil
}

// entry is an instance as the health API has it.
type entry struct {
	Node struct {
		Node, Address, Datacenter string
		Meta                      map[string]string
	}
	Service struct {
		ID, Service, Address, Kind string
		Port                       int
		Tags                       []string
		Meta                       map[string]string
		Weights                    struct{ Passing, Warning uint32 }
		Connect                    struct{ Native bool }
	}
	Checks []struct{ Status string }
}

// service follows one service.
func (c *Client) service(ctx context.Context, name string, tell func(registry.Service)) error {
	return watch(ctx, c, "/v1/health/service/"+url.PathEscape(name), func(list []entry, _ bool) error {
		s := registry.Service{Name: name}
		for i := range list {
			if list[i].Service.Kind == "" {
				s.Instances = append(s.Instances, instance(&list[i]))
			}
		}
		tell(s)
		return nil
	})
}

func instance(e *entry) registry.Instance {
	in := registry.Instance{Address: e.Service.Address, Labels: map[string]string{}, Locality: model.Locality{Region: e.Node.Datacenter}}
	if in.Address == "" {
		in.Address = e.Node.Address
	}
	if e.Service.Port > 0 && e.Service.Port < 1<<16 {
		in.Port = uint16(e.Service.Port)
	}
	maps.Copy(in.Labels, e.Service.Meta)
	var rest []string
	for _, t := range e.Service.Tags {
		if k, v, ok := strings.Cut(t, "="); ok {
			in.Labels[k] = v
		} else {
			rest = append(rest, t)
		}
	}
	for k, v := range map[string]string{"tags": strings.Join(rest, ","), "node": e.Node.Node, "datacenter": e.Node.Datacenter} {
		if v != "" {
			in.Labels[k] = v
		}
	}
	if e.Service.Connect.Native {
		in.Unusable = "takes only certificates of Consul's own mesh (Connect native)"
	}
	in.Protocol, _ = document.Protocol(e.Service.Meta["protocol"])
	weight := e.Service.Weights.Passing
	for _, check := range e.Checks {
		switch check.Status {
		case "critical", "maintenance":
			in.Off = true
		case "warning":
			weight = e.Service.Weights.Warning
		}
	}
	in.Weight = weight * registry.UsualWeight
	return in
}
