// Package grpcstats is the HTTP filter envoy.filters.http.grpc_stats: it counts
// gRPC calls by cluster, and by method where that is configured, with their
// status and their messages ("cluster.C.grpc.SERVICE.METHOD.success").
//
// It looks at frame borders only and keeps no message.
package grpcstats

import (
	"strconv"
	"strings"
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.grpc_stats"

// key is a cluster and a path; "": the calls that are not counted by method.
type key struct{ cluster, path string }

type factory struct {
	all, undot bool
	emit       bool            // leave the numbers of messages in filter state
	listed     map[string]bool // by path
	stats      *filter.Stats
	statName   func(string) string

	mu sync.RWMutex
	by map[key]*counters
}

// counters of a method, or of a cluster.
type counters struct {
	total, success, failure, requests, responses *filter.Counter
	status                                       [17]*filter.Counter // made when needed, under the factory's mu

	f             *factory
	cluster, name string
}

// New implements filter.HTTPFactory.
func (f *factory) New(s filter.Stream) filter.HTTPFilter {
	if !s.Info().GRPC {
		return nil
	}
	return &instance{factory: f}
}

// of finds the counters for a call, nil: it is not counted.
func (f *factory) of(cluster, path string) *counters {
	path, _, _ = strings.Cut(path, "?")
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case f.all && (!ok || service == "" || method == "" || strings.Contains(method, "/")):
		return nil
	case !f.all && !f.listed[path]:
		path, service, method = "", "", ""
	}
	f.mu.RLock()
	c := f.by[key{cluster, path}]
	f.mu.RUnlock()
	if c != nil {
		return c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c = f.by[key{cluster, path}]; c != nil {
		return c
	}
	c = &counters{f: f, cluster: f.statName(strings.Clone(cluster)), name: "grpc."}
	if path != "" {
		if f.undot {
			service = strings.ReplaceAll(service, ".", "_")
		}
		c.name = "grpc." + service + "." + method + "."
	}
	c.total, c.success, c.failure = c.counter("total"), c.counter("success"), c.counter("failure")
	c.requests, c.responses = c.counter("request_message_count"), c.counter("response_message_count")
	f.by[key{strings.Clone(cluster), strings.Clone(path)}] = c
	return c
}

func (c *counters) counter(stat string) *filter.Counter {
	return c.f.stats.Counter("cluster", c.cluster, c.name+stat)
}

// end counts a call by its status.
func (c *counters) end(h *filter.Headers) {
	v, ok := h.Lookup("grpc-status")
	if !ok {
		return
	}
	code, err := strconv.Atoi(v)
	if err == nil && code >= 0 && code < len(c.status) {
		c.f.mu.Lock()
		if c.status[code] == nil {
			c.status[code] = c.counter(strconv.Itoa(code))
		}
		n := c.status[code]
		c.f.mu.Unlock()
		n.Add(1)
	} else {
		c.counter(strings.Clone(v)).Add(1)
	}
	c.total.Add(1)
	if err == nil && code == 0 {
		c.success.Add(1)
	} else {
		c.failure.Add(1)
	}
}

// Messages are the numbers of messages of a call so far, in filter state under
// the filter's name (emit_filter_state).
type Messages struct {
	Requests  uint64 `json:"requestMessageCount"`
	Responses uint64 `json:"responseMessageCount"`
}

type instance struct {
	filter.PassThrough
	messages Messages
	factory  *factory
	counters *counters
	up, down frames
	answered bool // by gRPC
}

// RequestHeaders finds what to count.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	if c := s.Cluster(); c != "" {
		x.counters = x.factory.of(c, h.Path)
	}
	if x.factory.emit {
		i := s.Info()
		if i.FilterState == nil {
			i.FilterState = map[string]any{}
		}
		i.FilterState[Name] = &x.messages
	}
	return filter.Continue
}

// RequestData counts messages.
func (x *instance) RequestData(_ filter.Stream, b []byte, _ bool) filter.Verdict {
	if x.counters == nil && !x.factory.emit {
		return filter.Continue
	}
	n := x.up.count(b)
	x.messages.Requests += n
	if x.counters != nil {
		x.counters.requests.Add(n)
	}
	return filter.Continue
}

// ResponseHeaders counts a call that ends with its head.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	x.answered = h.Status == 200 && strings.HasPrefix(h.Get("content-type"), "application/grpc")
	if x.counters != nil {
		x.counters.end(h)
	}
	return filter.Continue
}

// ResponseData counts messages.
func (x *instance) ResponseData(_ filter.Stream, b []byte, _ bool) filter.Verdict {
	if !x.answered || x.counters == nil && !x.factory.emit {
		return filter.Continue
	}
	n := x.down.count(b)
	x.messages.Responses += n
	if x.counters != nil {
		x.counters.responses.Add(n)
	}
	return filter.Continue
}

// ResponseTrailers counts the call.
func (x *instance) ResponseTrailers(_ filter.Stream, h *filter.Headers) filter.Verdict {
	if x.counters != nil {
		x.counters.end(h)
	}
	return filter.Continue
}

// frames counts the messages of a gRPC stream as their heads pass.
type frames struct {
	head [5]byte
	n    int    // bytes of the head that are there
	left uint32 // bytes of the message that are to come
}

func (f *frames) count(b []byte) (n uint64) {
	for len(b) > 0 {
		if f.left > 0 {
			k := min(uint64(len(b)), uint64(f.left))
			f.left -= uint32(k)
			b = b[k:]
			continue
		}
		k := copy(f.head[f.n:], b)
		f.n += k
		b = b[k:]
		if f.n == len(f.head) {
			f.n = 0
			f.left = uint32(f.head[1])<<24 | uint32(f.head[2])<<16 | uint32(f.head[3])<<8 | uint32(f.head[4])
			n++
		}
	}
	return n
}
