// Package ondemand is the HTTP filter envoy.filters.http.on_demand: a request
// for which the proxy lacks the virtual host (VHDS), the routes of its scope
// (SRDS) or the cluster (on-demand CDS) waits until the control plane has sent
// them, has said that there are none, or has not answered in time.
//
// It never blocks: the request waits, with back-pressure on its body. A virtual
// host that does not exist means 404 at once, a cluster 503. Where the control
// plane does not answer about a host, the request is answered with 503, where
// Envoy waits for its idle timeout.
//
// Filters that stand before this one have done their work when the route comes;
// it belongs first. Filters that the route switches on or off behind it are
// switched for the first request too, where Envoy's chain is made already. It
// knows no xDS: the wiring page says whom it asks.
package ondemand

import (
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.on_demand"

// Source is who is asked. Outcomes and cancel functions are those of the
// configuration store; none of it may block.
type Source interface {
	AskHost(routes, authority string, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool)
	AskRoutes(name string, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool)
	AskCluster(name string, timeout time.Duration, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool)
}

// config says whether clusters are asked for; the zero value: they are not.
type config struct {
	clusters bool
	timeout  time.Duration
}

type factory struct {
	source Source
	name   string
	config config
}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{f: f} }

// most bounds how often a request asks: a route that has come may lack its
// cluster, and so on.
const most = 4

// instance is the filter of one request.
type instance struct {
	filter.PassThrough
	f      *factory
	asked  int
	host   bool // asked for, once
	cancel func() bool
}

// RequestHeaders waits for what is missing.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	return x.look(s)
}

// look asks for what is missing. It returns Wait when the request has to wait.
func (x *instance) look(s filter.Stream) filter.Verdict {
	m := s.Missing()
	c := x.config(s)
	if x.asked >= most || m == (filter.Missing{}) || m.Hosts != "" && x.host || m.Cluster != "" && !c.clusters {
		return filter.Continue
	}
	x.asked++
	x.host = x.host || m.Hosts != ""
	o, cancel := x.ask(s, m, c)
	switch {
	case o == filter.Waiting:
		x.cancel = cancel
		return filter.Wait
	case o == filter.Found: // it has come meanwhile
		s.Post(func() { x.woken(s, m, o) })
		return filter.Wait
	case o == filter.Unanswered && m.Cluster == "":
		s.Reply(unanswered)
		return filter.Reply
	}
	return filter.Continue
}

func (x *instance) ask(s filter.Stream, m filter.Missing, c config) (filter.Outcome, func() bool) {
	wake := func(o filter.Outcome) { s.Post(func() { x.woken(s, m, o) }) }
	switch {
	case m.Hosts != "":
		return x.f.source.AskHost(m.Hosts, strings.Clone(s.Request().Authority), wake)
	case m.Routes != "":
		return x.f.source.AskRoutes(m.Routes, wake)
	}
	return x.f.source.AskCluster(strings.Clone(m.Cluster), c.timeout, wake)
}

// unanswered: nobody knows whether there is such a route.
var unanswered = filter.LocalReply{
	Status: 503, GRPCStatus: -1, Body: "the control plane did not answer", Details: "on_demand_timeout", Flags: filter.FlagNoRoute,
}

// woken goes on, on the request's thread of execution.
func (x *instance) woken(s filter.Stream, m filter.Missing, o filter.Outcome) {
	x.cancel = nil
	switch {
	case m.Cluster != "": // the router finds it, or says that there is none
	case o == filter.Unanswered:
		s.Reply(unanswered)
		return
	case o == filter.Found:
		s.ClearRoute()
		if x.look(s) != filter.Continue {
			return
		}
	}
	s.Restart(x)
}

func (x *instance) config(s filter.Stream) config {
	if c, ok := s.RouteConfig(x.f.name).(*config); ok {
		return *c
	}
	return x.f.config
}

// Done implements filter.HTTPFilter.
func (x *instance) Done(filter.Stream) {
	if x.cancel != nil {
		x.cancel()
	}
}
