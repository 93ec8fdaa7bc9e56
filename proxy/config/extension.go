package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

// Kinds of places that take filters by name, as statistics call them.
const (
	httpFilter     = "http_filter"
	networkFilter  = "network_filter"
	listenerFilter = "tcp_listener_filter"
)

// extension is a place whose filter comes by name (ECDS). Places that are alike
// share one filter, so that a chain that outlives an update of its listener goes on
// following the name.
type extension struct {
	filter.ParseContext
	// kind of the place.
	kind string
	// urls are the types that the place takes.
	urls string
	// fallback is its default, "" when there is none.
	fallback string
}

// place is where a filter by name goes, of whatever kind it is.
type place interface {
	// prepare parses a configuration; set puts it into effect.
	prepare(a *anypb.Any) (set func(), err error)
	// reset goes back to the default.
	reset()
	// leaveOut has no filter there for as long as none has come.
	leaveOut()
}

// discovered is what a name stands for: a factory of filters, mostly.
type discovered[T any] struct {
	parse func(*anypb.Any) (T, error)
	// fallback holds before a configuration has come, and after it was removed; nil: none.
	fallback *T
	left     bool // leaveOut
	now      atomic.Pointer[T]
}

func (x *discovered[T]) prepare(a *anypb.Any) (set func(), err error) {
	v, err := x.parse(a)
	return func() { x.now.Store(&v) }, err
}

func (x *discovered[T]) reset() { x.now.Store(x.fallback) }

func (x *discovered[T]) leaveOut() { x.left = true }

// discoveredHTTP makes filters of what the name stands for when a stream begins.
type discoveredHTTP struct {
	*discovered[filter.HTTPFactory]
}

// New implements filter.HTTPFactory.
func (x discoveredHTTP) New(s filter.Stream) filter.HTTPFilter {
	if f := x.now.Load(); f != nil {
		return (*f).New(s)
	}
	if x.left {
		return nil
	}
	return undiscovered{}
}

// undiscovered answers for a filter that is not known: to go on without it might
// let pass what it would have stopped.
type undiscovered struct{ filter.PassThrough }

// RequestHeaders answers.
func (undiscovered) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	s.Reply(filter.LocalReply{Status: 500, GRPCStatus: -1, Details: "filter_config_not_found", Flags: filter.FlagNoFilterConfig})
	return filter.Reply
}

// discoveredNetwork makes filters of what the name stands for when a connection begins.
type discoveredNetwork struct {
	*discovered[filter.NetworkFactory]
}

// New implements filter.NetworkFactory; nil: nothing has come by that name.
func (x discoveredNetwork) New() filter.NetworkFilter {
	if f := x.now.Load(); f != nil {
		return (*f).New()
	}
	return nil
}

// ReadsSNI implements filter.SNIReader: whatever comes may do so.
func (x discoveredNetwork) ReadsSNI() {}

func (x discoveredNetwork) greeter() filter.Greeter {
	if f := x.now.Load(); f != nil {
		g, _ := (*f).(filter.Greeter)
		return g
	}
	return nil
}

// Greets implements filter.Greeter.
func (x discoveredNetwork) Greets(protocol string) bool {
	g := x.greeter()
	return g != nil && g.Greets(protocol)
}

// Greet implements filter.Greeter.
func (x discoveredNetwork) Greet(nc net.Conn, deadline time.Time, info *filter.ConnInfo) error {
	if g := x.greeter(); g != nil {
		return g.Greet(nc, deadline, info)
	}
	return errors.New("the filter that was to greet has been replaced meanwhile")
}

// typeNames are the types that a place takes, without what stands before them.
func typeNames(c *corev3.ExtensionConfigSource) []string {
	out := make([]string, len(c.TypeUrls))
	for i, u := range c.TypeUrls {
		out[i] = u[strings.LastIndexByte(u, '/')+1:]
	}
	return out
}

// discover connects a place with the name of its filter.
func discover[T any](d *Decoder, c *corev3.ExtensionConfigSource, e extension, cc *chainContext, parse func(*anypb.Any) (T, error)) (*discovered[T], error) {
	src, err := readSource(c.ConfigSource, "")
	if err != nil {
		return nil, at(err, "config_source")
	}
	urls := typeNames(c)
	if len(urls) == 0 {
		return nil, at(errors.New("is empty"), "type_urls")
	}
	x := &discovered[T]{parse: func(a *anypb.Any) (none T, err error) {
		url, err := configType(a)
		if err != nil {
			return none, err
		}
		if !slices.Contains(urls, url[strings.LastIndexByte(url, '/')+1:]) {
			return none, fmt.Errorf("has the type %s, the filter takes %s", url, strings.Join(urls, ", "))
		}
		return parse(a)
	}}
	e.urls = strings.Join(urls, " ")
	if c.DefaultConfig != nil {
		e.fallback = contentHash(c.DefaultConfig)
		v, err := x.parse(c.DefaultConfig)
		if err != nil {
			return nil, at(err, "default_config")
		}
		x.fallback = &v
	} else if c.ApplyDefaultConfigWithoutWarming {
		return nil, at(errors.New("there is no default_config"), "apply_default_config_without_warming")
	}
	x.reset()
	cc.extensions = append(cc.extensions, extensionNeed{need{name: e.FilterName, timeout: src.timeout}, c.ApplyDefaultConfigWithoutWarming})
	return d.Extensions(e, x).(*discovered[T]), nil
}
