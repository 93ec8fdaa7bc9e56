package console

import (
	"encoding/json"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
)

// ConfigResource is one xDS resource that a proxy should hold.
type ConfigResource struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Body    json.RawMessage `json:"body"`
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
	for url, set := range state.Sets {
		short := url[strings.LastIndexByte(url, '.')+1:]
		if t := q.Get("type"); t != "" && !strings.Contains(strings.ToLower(short), strings.ToLower(t)) {
			continue
		}
		for _, res := range set.List() {
			if n := q.Get("name"); n != "" && n != res.Name {
				continue
			}
			body := json.RawMessage(`"(redacted)"`)
			if short != "Secret" {
				msg, err := res.Body.UnmarshalNew()
				if err != nil {
					fail(w, http.StatusInternalServerError, "%s: %v", res.Name, err)
					return
				}
				if body, err = protojson.Marshal(msg); err != nil {
					fail(w, http.StatusInternalServerError, "%s: %v", res.Name, err)
					return
				}
			}
			out = append(out, ConfigResource{Type: short, Name: res.Name, Version: res.Version, Body: body})
		}
	}
	reply(w, out)
}
