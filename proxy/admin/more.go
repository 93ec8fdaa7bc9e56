package admin

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
)

// DumpQuery is what a caller wants of the configuration.
type DumpQuery struct {
	// Endpoints includes them.
	Endpoints bool
	// Resource is the name of one list ("dynamic_listeners"); Name lets only those
	// of a name through.
	Resource string
	Name     *regexp.Regexp
}

// String is the query as it stands in a URL.
func (q DumpQuery) String() string {
	v := url.Values{}
	if q.Endpoints {
		v.Set("include_eds", "")
	}
	if q.Resource != "" {
		v.Set("resource", q.Resource)
	}
	if q.Name != nil {
		v.Set("name_regex", q.Name.String())
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

func dumpQuery(r *http.Request) (q DumpQuery, err error) {
	v := r.URL.Query()
	if v.Has("mask") {
		return q, fmt.Errorf("mask is not supported; use resource and name_regex")
	}
	q.Endpoints, q.Resource = v.Has("include_eds"), v.Get("resource")
	if expr := v.Get("name_regex"); expr != "" {
		// The whole name has to match, as in Envoy.
		q.Name, err = regexp.Compile("^(?:" + expr + ")$")
	}
	return q, err
}

// RuntimeEntry is a value of the runtime and those of its layers.
type RuntimeEntry struct {
	Name   string   `json:"-"`
	Final  string   `json:"final_value"`
	Layers []string `json:"layer_values"`
}

func (s *Server) runtime(w http.ResponseWriter, _ *http.Request) {
	if s.Runtime == nil {
		missing(w)
		return
	}
	layers, list := s.Runtime()
	entries := make(map[string]RuntimeEntry, len(list))
	for _, e := range list {
		entries[e.Name] = e
	}
	if layers == nil {
		layers = []string{}
	}
	writeJSON(w, map[string]any{"layers": layers, "entries": entries})
}

func (s *Server) runtimeModify(w http.ResponseWriter, r *http.Request) {
	if s.RuntimeModify == nil {
		missing(w)
		return
	}
	values := map[string]string{}
	for k, v := range r.URL.Query() {
		values[k] = v[len(v)-1]
	}
	if err := r.ParseForm(); err == nil {
		for k, v := range r.PostForm {
			values[k] = v[len(v)-1]
		}
	}
	if len(values) == 0 {
		http.Error(w, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN; an empty value takes an override off", http.StatusBadRequest)
		return
	}
	if err := s.RuntimeModify(values); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "OK\n")
}

// memory is envoy.admin.v3.Memory as far as Go's heap has the same.
func memory(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text := func(n uint64) string { return fmt.Sprint(n) } // 64 bits are strings in protobuf's JSON
	writeJSON(w, map[string]string{
		"allocated": text(m.HeapAlloc), "heap_size": text(m.HeapSys), "pageheap_unmapped": text(m.HeapReleased),
		"pageheap_free": text(m.HeapIdle - m.HeapReleased), "total_thread_cache": text(m.MCacheInuse), "total_physical_bytes": text(m.Sys - m.HeapReleased),
	})
}

// hotRestartVersion is what a successor would have to speak; Envoy's is never compatible.
func hotRestartVersion(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "disabled\n")
}

type stat struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	if s.Stats == nil {
		missing(w)
		return
	}
	q := r.URL.Query()
	switch q.Get("format") {
	case "", "text", "json":
	case "prometheus":
		s.prometheus(w, r)
		return
	default:
		http.Error(w, "usage: /stats?format=(text|json|prometheus)", http.StatusBadRequest)
		return
	}
	match, err := regexp.Compile(q.Get("filter"))
	if err != nil {
		http.Error(w, fmt.Sprintf("invalid filter: %v", err), http.StatusBadRequest)
		return
	}
	all := []stat{}
	s.Stats(func(name string, v uint64) {
		// The state is in use also as 0, which says that the server is live.
		if (v > 0 || !q.Has("usedonly") || name == "server.state") && match.MatchString(name) {
			all = append(all, stat{name, v})
		}
	})
	slices.SortFunc(all, func(a, b stat) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	if q.Get("format") == "json" {
		writeJSON(w, map[string]any{"stats": all})
		return
	}
	for _, l := range all {
		fmt.Fprintf(w, "%s: %d\n", l.Name, l.Value)
	}
}
