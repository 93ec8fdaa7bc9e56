// Package tunnel carries a byte stream through an HTTP proxy: a CONNECT, or a
// POST whose bodies are the stream, over HTTP/1 or a stream of an HTTP/2
// connection that others share (HBONE).
//
// A tunnel takes the ways of all other requests: the cluster's connection pool,
// TLS, circuit breakers and statistics. What comes out is a stream.Conn, with
// back-pressure both ways: the request's pool asks for a pause, and no window is
// given back while nobody reads. Half-closes are passed on, as the end of the
// request's or the response's body.
//
// The package chooses no hosts and makes no second attempt: tcp_proxy does.
package tunnel

import (
	"errors"
	"fmt"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/route"
)

// Config says how tunnels are asked for. Immutable.
type Config struct {
	// Host is the authority of the request: where the tunnel leads.
	Host *format.Format
	// Post uses POST with Path instead of CONNECT.
	Post bool
	Path string
	// Headers are added to the request.
	Headers *route.HeaderChanges
	// IDHeader, when not empty, is the header of a request id that is made for each tunnel,
	// IDKey where it stays in the connection's metadata.
	IDHeader, IDKey string
	// KeepHeaders and KeepTrailers leave the response's in the connection's filter state.
	KeepHeaders, KeepTrailers bool
}

// Target is where a tunnel begins, and for whom.
type Target struct {
	Cluster *cluster.Cluster
	Host    *cluster.Host
	Limits  *cluster.Limits
	Dial    cluster.DialOptions
	// Info describes the connection that is to go through. It is read, and on
	// success or refusal written to, before Open's done is called.
	Info *filter.ConnInfo
}

// Error says why there is no tunnel.
type Error struct {
	// Overflow: a circuit breaker refused. Timeout: no connection in time. Connect: no connection.
	Overflow, Timeout, Connect bool
	// Status of an answer that was no consent; 0: there was none.
	Status int
	Err    error
}

// Error says what failed.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("the proxy answered %d", e.Status)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Open asks for a tunnel. done is called once, on a goroutine of its own, with an unbound
// stream or an *Error, which cancel brings about too.
func (c *Config) Open(t *Target, done func(stream.Conn, error)) (cancel func()) {
	k := &conn{cfg: c, info: t.Info, host: t.Host, done: done}
	i := &filter.Info{Conn: t.Info, Start: t.Info.Start, Remote: t.Info.Remote, Metadata: t.Info.Metadata, Upstream: t.Info.Upstream}
	k.request(i)
	x := &k.x
	x.Lane, x.User, x.Cluster, x.Host, x.Limits, x.Dial = &k.lane, k, t.Cluster, t.Host, t.Limits, t.Dial
	k.lane.Do(func() { x.Start(want(t.Cluster, t.Host)) })
	return func() {
		k.lane.Do(func() {
			if k.done != nil {
				k.fail(&Error{Err: errGivenUp})
			}
		})
	}
}

var errGivenUp = errors.New("the connection ended before its tunnel was there")

func want(c *cluster.Cluster, h *cluster.Host) pool.Want {
	switch c.Spec().Protocol {
	case cluster.HTTP2:
		return pool.WantHTTP2
	case cluster.AutoALPN:
		if h.Secure() {
			return pool.WantALPN
		}
	}
	return pool.WantHTTP1
}

// request makes the request's head.
func (k *conn) request(i *filter.Info) {
	c, h := k.cfg, &k.req
	h.Method = "CONNECT"
	h.Authority = string(c.Host.Append(nil, i))
	if c.Post {
		h.Method, h.Path, h.Scheme = "POST", c.Path, "http"
		if k.host.Secure() {
			h.Scheme = "https"
		}
	}
	if c.IDHeader != "" {
		id := newID()
		h.Set(c.IDHeader, id)
		i.SetMetadata(Namespace, map[string]any{c.IDKey: id})
		k.info.Metadata = i.Metadata
	}
	if !c.Headers.Empty() {
		i.Request = h
		c.Headers.Apply(h, i)
	}
}

// Namespace of the metadata in which the request's id stays, Envoy's name.
const Namespace = "envoy.filters.network.tcp_proxy"

// Keys of filter state with what the response said, Envoy's names.
const (
	StateHeaders  = "envoy.tcp_proxy.propagate_response_headers"
	StateTrailers = "envoy.tcp_proxy.propagate_response_trailers"
)

// answered takes the answer's head: consent or not.
func (k *conn) answered(h *filter.Headers) {
	ok := h.Status/100 == 2
	if k.x.Protocol == "HTTP/2" {
		ok = h.Status == 200
	}
	if k.cfg.KeepHeaders {
		k.info.SetObject(filter.Shared{Key: StateHeaders, Value: propagated(h)})
	}
	if !ok {
		k.fail(&Error{Status: h.Status})
		return
	}
	k.granted = true
	if k.cfg.Post {
		k.succeed()
	}
}

// succeed hands the stream over. What comes before it is bound is kept.
func (k *conn) succeed() {
	done := k.done
	k.done = nil
	if done == nil {
		return
	}
	k.x.Reading(false)
	go done(k, nil)
}

func (k *conn) fail(err *Error) {
	done := k.done
	k.done = nil
	k.x.Reset(codec.ResetCancel)
	if done != nil {
		go done(nil, err)
	}
}
