// Package client makes the calls of the proxy's own: of filters that ask an
// authorization server, a rate limit service, a key server. They take the ways of
// all other requests: a host that the cluster's balancer picks, its connection
// pool, TLS, circuit breakers and statistics. Nothing blocks, and a call has no
// goroutine of its own.
//
// Calls are whole messages of bounded size. They are not retried.
package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// ErrTimeout is the error of a call that took too long.
var ErrTimeout = errors.New("the call has timed out")

// ErrTooLarge is the error of an answer that is larger than the caller takes.
var ErrTooLarge = errors.New("the answer is too large")

const defaultMaxBody = 1 << 20

// Clusters finds clusters by name; nil: there is none.
type Clusters interface {
	Get(name string) *cluster.Cluster
}

// Client implements filter.Caller.
type Client struct{ clusters Clusters }

// New returns a Client.
func New(c Clusters) *Client { return &Client{c} }

// call is one call on a lane of its own.
type call struct {
	lane   pool.Lane
	x      pool.Exchange
	req    *filter.Call
	answer filter.Answer
	done   func(*filter.Answer, error) // nil: it has been called, or nobody waits any more
	timer  *time.Timer
	host   *cluster.Host
}

var _ pool.User = (*call)(nil)

// Call implements filter.Caller.
func (c *Client) Call(req *filter.Call, done func(*filter.Answer, error)) (cancel func()) {
	cl := c.clusters.Get(req.Cluster)
	if cl == nil {
		done(nil, fmt.Errorf("there is no cluster %q", req.Cluster))
		return func() {}
	}
	host, flags := cl.Pick(&cluster.Pick{Random: rand.Uint64()})
	if host == nil {
		done(nil, fmt.Errorf("cluster %q has no usable endpoint (%s)", req.Cluster, flags))
		return func() {}
	}
	k := &call{req: req, done: done, host: host}
	k.x.Lane, k.x.User, k.x.Cluster, k.x.Host = &k.lane, k, cl, host
	k.x.Limits = cl.Limits(cluster.Default)
	if req.Header.Scheme == "" {
		req.Header.Scheme = "http"
		if host.Secure() {
			req.Header.Scheme = "https"
		}
	}
	k.lane.Do(func() { k.start(want(cl, host)) })
	return func() { k.lane.Do(k.cancel) }
}

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

func (k *call) start(w pool.Want) {
	if t := k.req.Timeout; t > 0 {
		k.timer = time.AfterFunc(t, func() { k.lane.Do(k.expire) })
	}
	k.x.Start(w)
}

func (k *call) expire() {
	if k.done == nil {
		return
	}
	k.x.Cluster.Stats().UpstreamRqTimeout.Add(1)
	k.finish(ErrTimeout, codec.ResetCancel)
}

func (k *call) cancel() {
	k.done = nil
	k.finish(nil, codec.ResetCancel)
}

// finish ends the call and tells who waits.
func (k *call) finish(err error, code codec.ResetCode) {
	k.x.Reset(code)
	if k.timer != nil {
		k.timer.Stop()
	}
	done := k.done
	k.done = nil
	switch {
	case done == nil:
	case err != nil:
		done(nil, err)
	default:
		done(&k.answer, nil)
	}
}

// OnReady implements pool.User.
func (k *call) OnReady() {
	k.x.Headers(k.req.Header, len(k.req.Body) == 0)
	if len(k.req.Body) > 0 {
		k.x.Data(k.req.Body, true)
	}
}

// OnFail implements pool.User.
func (k *call) OnFail(f pool.Failure) {
	if f.Kind == pool.FailConnect || f.Kind == pool.FailTimeout {
		k.host.Report(cluster.ConnectFailed)
	}
	err := f.Err
	if err == nil {
		err = fmt.Errorf("no connection to cluster %q", k.req.Cluster)
	}
	k.finish(err, codec.ResetNone)
}

// OnInterim implements pool.User.
func (k *call) OnInterim(h *filter.Headers) { pool.PutHeaders(h) }

// OnHeaders implements pool.User.
func (k *call) OnHeaders(h *filter.Headers, end bool) {
	k.x.Cluster.Stats().Status(h.Status)
	k.host.ReportStatus(h.Status)
	k.answer.Header = h
	if end {
		k.finish(nil, codec.ResetNone)
	}
}

// OnUpgraded implements pool.User: never.
func (k *call) OnUpgraded() {}

// OnData implements pool.User.
func (k *call) OnData(b []byte, end bool) {
	most := k.req.MaxBody
	if most == 0 {
		most = defaultMaxBody
	}
	if len(k.answer.Body)+len(b) > most {
		k.finish(ErrTooLarge, codec.ResetCancel)
		return
	}
	k.answer.Body = append(k.answer.Body, b...)
	k.x.Consumed(len(b))
	if end {
		k.finish(nil, codec.ResetNone)
	}
}

// OnTrailers implements pool.User.
func (k *call) OnTrailers(h *filter.Headers) {
	k.answer.Trailer = h
	k.finish(nil, codec.ResetNone)
}

// OnReset implements pool.User.
func (k *call) OnReset(codec.ResetCode) {
	k.finish(fmt.Errorf("cluster %q has reset the call", k.req.Cluster), codec.ResetNone)
}

// OnBlocked implements pool.User: the body is all here already.
func (k *call) OnBlocked(bool) {}
