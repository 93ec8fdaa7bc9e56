package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

// extension is a place in a filter chain whose filter comes by name (ECDS).
// Places that are alike share one filter, so that a chain that outlives an
// update of its listener goes on following the name.
type extension struct {
	filter.ParseContext
	// urls are the types that the place takes.
	urls string
	// fallback is its default, "" when there is none.
	fallback string
}

// parseExtension parses a filter's configuration for a place.
type parseExtension func(*anypb.Any) (filter.HTTPFactory, error)

// discovered is a filter whose configuration comes by name. It makes filters of
// what the name stands for when a stream begins.
type discovered struct {
	parse parseExtension
	// fallback holds before a configuration has come, and after it was removed; nil: none.
	fallback filter.HTTPFactory
	now      atomic.Pointer[filter.HTTPFactory]
}

// New implements filter.HTTPFactory.
func (x *discovered) New(s filter.Stream) filter.HTTPFilter {
	if f := x.now.Load(); f != nil {
		return (*f).New(s)
	}
	return undiscovered{}
}

func (x *discovered) set(f filter.HTTPFactory) {
	if f == nil {
		x.now.Store(nil)
		return
	}
	x.now.Store(&f)
}

// undiscovered answers for a filter that is not known: to go on without it might
// let pass what it would have stopped.
type undiscovered struct{ filter.PassThrough }

// RequestHeaders answers.
func (undiscovered) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	s.Reply(filter.LocalReply{Status: 500, GRPCStatus: -1, Details: "filter_config_not_found", Flags: filter.FlagNoFilterConfig})
	return filter.Reply
}

// discover connects a place of the chain with the name of its filter.
func (d *Decoder) discover(m *hcmv3.HttpFilter, ctx filter.ParseContext, cc *chainContext) (filter.HTTPFactory, error) {
	c := m.GetConfigDiscovery()
	src, err := readSource(c.ConfigSource, "")
	if err != nil {
		return nil, at(err, "config_source")
	}
	if len(c.TypeUrls) == 0 {
		return nil, at(errors.New("is empty"), "type_urls")
	}
	urls := make([]string, len(c.TypeUrls))
	for i, u := range c.TypeUrls {
		urls[i] = u[strings.LastIndexByte(u, '/')+1:]
	}
	parse := func(a *anypb.Any) (filter.HTTPFactory, error) {
		url, err := configType(a)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(urls, url[strings.LastIndexByte(url, '/')+1:]) {
			return nil, fmt.Errorf("has the type %s, the filter takes %s", url, strings.Join(urls, ", "))
		}
		k, a, err := d.httpKind(a)
		if err != nil {
			return nil, err
		}
		own := ctx
		return k.Parse(&own, a)
	}
	e := extension{ParseContext: ctx, urls: strings.Join(urls, " ")}
	var fallback filter.HTTPFactory
	if c.DefaultConfig != nil {
		e.fallback = contentHash(c.DefaultConfig)
		if fallback, err = parse(c.DefaultConfig); err != nil {
			return nil, at(err, "default_config")
		}
	} else if c.ApplyDefaultConfigWithoutWarming {
		return nil, at(errors.New("there is no default_config"), "apply_default_config_without_warming")
	}
	cc.extensions = append(cc.extensions, extensionNeed{need{name: m.Name, timeout: src.timeout}, c.ApplyDefaultConfigWithoutWarming})
	return d.Extensions(e, parse, fallback), nil
}
