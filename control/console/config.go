package console

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate"
)

// ConfigResource is one xDS resource that a proxy should hold.
type ConfigResource struct {
	// Type is "Listener", "Route", "Cluster", "Endpoint", "Secret", or that of a
	// message of Weft's own, "Host" or "Workload".
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Body    json.RawMessage `json:"body"`
}

// Is tells whether the resource is of a type as people write it: "route", "routes".
func (r ConfigResource) Is(typ string) bool {
	return strings.EqualFold(r.Type, typ) || strings.EqualFold(r.Type+"s", typ)
}

// TypeName is the last part of a type URL, as people call it.
func TypeName(url string) string {
	switch short := url[strings.LastIndexByte(url, '.')+1:]; short {
	case "RouteConfiguration":
		return "Route"
	case "ClusterLoadAssignment":
		return "Endpoint"
	default:
		return short
	}
}

// config lists the resources made for a proxy: ?proxy=NAME.NAMESPACE&type=cluster&name=.
func (c *Console) config(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := c.Proxies.Config(q.Get("proxy"))
	if state == nil {
		fail(w, http.StatusNotFound, "no connected proxy %q: `weft status` lists them", q.Get("proxy"))
		return
	}
	out := []ConfigResource{}
	for _, url := range slices.Sorted(maps.Keys(state.Sets)) {
		for _, res := range state.Sets[url].List() {
			x := ConfigResource{Type: TypeName(url), Name: res.Name, Version: res.Version}
			if t, n := q.Get("type"), q.Get("name"); t != "" && !x.Is(t) || n != "" && n != x.Name {
				continue
			}
			if res.Body == nil {
				continue // says only that there is none of that name
			}
			var err error
			if x.Body, err = body(res); err != nil {
				fail(w, http.StatusInternalServerError, "%s %s: %v", x.Type, x.Name, err)
				return
			}
			out = append(out, x)
		}
	}
	reply(w, out)
}

// body is a resource as JSON, but for private keys.
func body(r *resource.Resource) (json.RawMessage, error) {
	msg, err := r.Body.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(translate.Redact(msg))
}
