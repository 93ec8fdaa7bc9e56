package registries

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// consul answers the two questions that are asked of Consul as its documentation says: an index that grows with each change, and
// queries that block until it does.
type consul struct {
	mu       sync.Mutex
	changed  chan struct{}
	index    uint64
	services map[string][]map[string]any
	token    string
}

func newConsul() *consul {
	return &consul{changed: make(chan struct{}), index: 7, services: map[string][]map[string]any{}, token: "secret"}
}

// set replaces the instances of a service; nil: it is gone.
func (c *consul) set(name string, instances ...map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.services[name] = instances; instances == nil {
		delete(c.services, name)
	}
	c.index++
	close(c.changed)
	c.changed = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (c *consul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Consul-Token") != c.token || r.URL.Query().Get("dc") != "dc1" {
		http.Error(w, "Permission denied", http.StatusForbidden)
		return
	}
	asked, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	deadline := time.After(wait)
	c.mu.Lock()
	for asked != 0 && c.index <= asked {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			asked = 0
		case <-r.Context().Done():
			return
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	var answer any
	if name, ok := strings.CutPrefix(r.URL.Path, "/v1/health/service/"); ok {
		list := c.services[name]
		if list == nil {
			list = []map[string]any{}
		}
		answer = list
	} else {
		names := map[string][]string{"consul": {}}
		for n := range c.services {
			names[n] = []string{}
		}
		answer = names
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(c.index, 10))
	_ = json.NewEncoder(w).Encode(answer)
}

func consulInstance(address string, port int, status string, more map[string]any) map[string]any {
	service := map[string]any{"ID": address, "Address": address, "Port": port, "Weights": map[string]int{"Passing": 2, "Warning": 1}}
	for k, v := range more {
		service[k] = v
	}
	return map[string]any{
		"Node": map[string]any{"Node": "n1", "Address": "10.9.9.9", "Datacenter": "dc1"}, "Service": service, "Checks": []map[string]string{{"Status": status}},
	}
}

const consulYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: consul, namespace: shop}
spec:
  type: consul
  addresses: [%q]
  token: secret
  datacenter: dc1
  namespace: legacy
  hostSuffix: .consul
  services: {exclude: [consul]}
  endpointSelectors:
  - labelSelector: {matchExpressions: [{key: stage, operator: NotIn, values: [test]}]}
    excludeIPRanges: {cidrs: [10.7.0.0/16]}
  instanceMetaRelabel: {items: [{key: ver, targetKey: version, valuesMapping: {one: v1}}]}
`

func TestConsul(t *testing.T) {
	t.Parallel()
	c := newConsul()
	c.set("web", consulInstance("10.0.0.1", 8080, "passing", map[string]any{"Meta": map[string]string{"ver": "one"}}), consulInstance("10.0.0.2", 8080, "critical", nil),
		consulInstance("10.7.0.3", 8080, "passing", nil), consulInstance("10.0.0.4", 8080, "passing", map[string]any{"Tags": []string{"stage=test"}}))
	c.set("web-sidecar-proxy", consulInstance("10.0.0.1", 21000, "passing", map[string]any{"Kind": "connect-proxy"}))
	c.set("db", consulInstance("", 5432, "warning", map[string]any{"Meta": map[string]string{"protocol": "tcp"}}))
	server := httptest.NewServer(c)
	p := start(t, fmt.Sprintf(consulYAML, server.URL))
	labels := []string{"version"}
	db, web := "legacy/db.consul tcp-80: 10.9.9.9:5432,", "legacy/web.consul http-80: 10.0.0.1:8080,v1"
	p.want(labels, db, web)

	t.Log("instances become healthy, services come and go")
	c.set("web", consulInstance("10.0.0.1", 8080, "critical", nil), consulInstance("10.0.0.2", 8080, "passing", nil))
	c.set("new", consulInstance("10.0.0.5", 80, "passing", nil))
	web = "legacy/web.consul http-80: 10.0.0.2:8080,"
	p.want(labels, db, "legacy/new.consul http-80: 10.0.0.5:80,", web)
	c.set("new")
	eventually(t, func() error {
		if st := p.status("consul", "synced"); st.Retained != 1 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	p.want(labels, db, "legacy/new.consul http-80: 10.0.0.5:80,", web)

	t.Log("it goes away")
	server.Listener.Close() // or who is cut off is back before the end, and that waits for his question
	server.CloseClientConnections()
	server.Close()
	p.status("consul", "stale")
	p.want(labels, db, "legacy/new.consul http-80: 10.0.0.5:80,", web)
}
