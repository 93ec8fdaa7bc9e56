package router

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/route"
)

// Downstream is the stream that a Router belongs to.
type Downstream interface {
	Lane() *pool.Lane
	// Now is the time of the present event.
	Now() time.Time
	Info() *filter.Info
	// Arm makes Tick be called at t or before.
	Arm(t time.Time)
	// Reply answers instead of the upstream. The Router has given up before.
	Reply(r filter.LocalReply)
	// RespondInterim passes a 1xx response on; h stays the caller's.
	RespondInterim(h *filter.Headers)
	// RespondHeaders and RespondTrailers take h over.
	RespondHeaders(h *filter.Headers, end bool)
	RespondData(b []byte, end bool)
	RespondTrailers(h *filter.Headers)
	// CutResponse ends a response that has begun and cannot be finished.
	CutResponse(details string, flags filter.ResponseFlags)
	// PauseRequest stops or resumes the request body.
	PauseRequest(on bool)
	// Redirect follows a redirect of the upstream: the request, whose body and
	// trailers these are, begins anew, h is taken over, and the Router's work is done.
	// false: it may not be followed.
	Redirect(h *filter.Headers, body []byte, trailer *filter.Headers) bool
	// Later returns a function that any goroutine may call, once, to have f run
	// on the stream's thread of execution, unless the stream has ended.
	Later(f func()) (wake func())
}

// Config is what all Routers of a connection manager share.
type Config struct {
	Clusters *cluster.Manager
	Stats    *Stats
	// BufferLimit bounds the request body that is kept.
	BufferLimit int
	// Messages, when set, is the protocol of requests, which is not HTTP.
	Messages *l7.Protocol
	// SuppressHeaders sends none of the x-envoy- headers.
	SuppressHeaders bool
	// RespectExpectedTimeout takes the timeout from x-envoy-expected-rq-timeout-ms.
	RespectExpectedTimeout bool
	// Attempt, when set, is called before a head is sent.
	Attempt func(i *filter.Info, h *filter.Headers, now time.Time)
}

// Stats of the routers of a connection manager.
type Stats struct {
	Total, NoRoute, NoCluster, DirectResponse, Redirect cluster.Counter
	RetryOrShadowAbandoned                              cluster.Counter
	// Why redirects of the upstream were passed on and not followed.
	RedirectBadLocation, RedirectUnsafeScheme, RedirectTooMany, RedirectNoRoute, RedirectPredicate cluster.Counter
}

// Request is what a Router is given beside the head.
type Request struct {
	// Entry nil: no route.
	Entry  *route.Entry
	Target route.Target
	// Upgrade is the protocol that the request wants to change to, or "CONNECT".
	Upgrade string
	// Terminate, when set, ends a CONNECT here, or a POST that is like one.
	Terminate *route.Upgrade
	// Trusted requests may say how they want to be routed (x-envoy- headers).
	Trusted bool
}

// phase of the response.
type phase uint8

const (
	idle       phase = iota // no request
	trying                  // an attempt is being connected
	sent                    // the request is on its way
	waiting                 // for the next attempt
	responding              // response head passed on
)

// maxTried bounds the hosts remembered as tried.
const maxTried = 8

// maxResends bounds attempts that cost nothing because nothing had been done.
const maxResends = 3

// Router is the state of one request. Use Reset to use it again.
type Router struct {
	cfg *Config
	ds  Downstream
	Request
	cluster *cluster.Cluster
	limits  *cluster.Limits
	prio    cluster.Priority
	host    *cluster.Host
	// x is the present attempt's, first unless requests are hedged.
	x      *pool.Exchange
	first  pool.Exchange
	hedges []*hedge // attempts that go on beside it

	h       *filter.Headers // the request's, the owner's
	trailer *filter.Headers
	body    []byte // not sent yet, or kept
	ended   bool   // the request is whole
	keep    bool   // body is kept after it was sent
	paused  bool   // PauseRequest(true) was called
	full    bool   // the upstream is slow

	phase       phase
	softened    bool // this attempt's time was over, it goes on
	timedOutTry bool // and why there is another one
	headSent    bool // of this attempt
	bodySent    bool // of this attempt: some of the body
	// loadTaken: the host has reported its load with this attempt.
	loadTaken bool
	retry     *route.Retry
	plan      plan
	retries   int // counted ones
	resends   int // free ones
	tried     [maxTried]*cluster.Host
	nTried    int
	avoided   priorities
	held      bool // Retries acquired
	wanted    cluster.Wanted
	share     *route.Stats // of the virtual cluster; nil: there is none
	hash      uint64
	hasHash   bool
	cookie    string
	mirrors   bool
	follow    bool // redirects may be followed
	tunnel    bool // the upgrade was granted
	open      bool // and the upstream takes the tunnel's bytes
	keyed     bool // the WebSocket key is ours

	respPaused bool
	owed       int // window to give back when the response goes on

	sentBytes, gotBytes uint64 // of the bodies of request and response

	began    time.Time // of this attempt
	deadline time.Time // of the whole
	tryUntil time.Time
	tryIdle  time.Time
	tryLife  time.Time // of this attempt, response included
	retryAt  time.Time

	scratch [20]byte
}

// Init ties the Router to its stream.
func (r *Router) Init(cfg *Config, ds Downstream) { r.cfg, r.ds, r.x = cfg, ds, &r.first }

// Reset makes the Router ready for another request; the present one must be over.
func (r *Router) Reset() {
	body := r.body[:0]
	if cap(body) > keptBody {
		body = nil
	}
	cfg, ds := r.cfg, r.ds
	spare := r.first.Spare()
	*r = Router{} // without a copy: it is large
	r.cfg, r.ds, r.body, r.x = cfg, ds, body, &r.first
	r.x.UseSpare(spare)
}

// keptBody bounds the buffer that an idle Router keeps.
const keptBody = 16 << 10

// Headers takes the request's head, which stays the owner's and is changed.
func (r *Router) Headers(req Request, h *filter.Headers, end bool) {
	r.Request, r.h, r.ended = req, h, end
	r.phase = trying
	r.cfg.Stats.Total.Add(1)
	if r.Entry == nil {
		r.cfg.Stats.NoRoute.Add(1)
		r.reply(filter.LocalReply{Status: 404, Details: "route_not_found", Flags: filter.FlagNoRoute})
		return
	}
	switch r.Entry.Kind() {
	case route.Redirects:
		r.redirect()
	case route.Answers:
		r.answer()
	default:
		r.forward()
	}
}

func (r *Router) redirect() {
	r.cfg.Stats.Redirect.Add(1)
	status, location := r.Entry.Redirect(r.h)
	r.reply(filter.LocalReply{
		Status: status, Details: "direct_response",
		Header: []filter.Field{{Name: "location", Value: location}},
	})
}

func (r *Router) answer() {
	r.cfg.Stats.DirectResponse.Add(1)
	d := r.Entry.Direct()
	l := filter.LocalReply{Status: d.Status, Body: d.Body, Details: "direct_response", GRPCStatus: -1}
	if d.Status == 201 || d.Status/100 == 3 { // these statuses want to say where; there is only here
		l.Header = []filter.Field{{Name: "location", Value: r.h.Scheme + "://" + r.h.Authority + r.h.Path}}
	}
	r.reply(l)
}

// reply answers instead of the upstream.
func (r *Router) reply(l filter.LocalReply) {
	if l.GRPCStatus == 0 {
		l.GRPCStatus = -1
	}
	r.Abort()
	r.ds.Reply(l)
}

func (r *Router) forward() {
	f := r.Entry.Forward()
	r.share = r.Entry.VirtualHost().ClusterStats(r.h)
	r.cluster = r.cfg.Clusters.Get(r.Target.Cluster)
	if r.cluster == nil {
		r.cfg.Stats.NoCluster.Add(1)
		status := f.MissingStatus
		if status == 0 {
			status = 503
		}
		r.reply(filter.LocalReply{Status: status, Details: "cluster_not_found", Flags: filter.FlagNoCluster})
		return
	}
	if flag := r.cluster.Drop(rand.Uint64()); flag != 0 {
		r.dropped(flag)
		return
	}
	r.prio = cluster.Default
	if f.HighPriority {
		r.prio = cluster.High
	}
	r.limits = r.cluster.Limits(r.prio)
	if hash := r.cluster.Spec().LB.Hash; hash != nil {
		r.hash, r.hasHash = hash(r.h, r.ds.Info().Conn)
	} else if len(f.Hash) > 0 {
		r.hash, r.hasHash, r.cookie = r.Entry.Hash(r.h, r.ds.Info().Conn)
	}
	r.planRequest(f)
	info := r.ds.Info()
	r.Entry.RewriteRequest(r.Target, r.h, info)
	r.chooseMirrors()
	r.follow = f.Internal != nil && r.Upgrade == ""
	r.keep = r.retry != nil || r.mirrors || r.follow
	if r.ended {
		r.complete()
	}
	if r.cluster.Spec().Type == cluster.DynamicForward && info.Forward && !r.resolved() {
		return
	}
	r.try()
}

// dropped answers a request that the control plane wants to be dropped.
func (r *Router) dropped(flag filter.ResponseFlags) {
	l := filter.LocalReply{Status: 503, Body: "drop overload", Details: "drop_overload", Flags: flag}
	header := "x-envoy-drop-overload"
	if flag == filter.FlagUnconditionalDropOverload {
		l.Body, l.Details, header = "unconditional drop overload", "unconditional_drop_overload", "x-envoy-unconditional-drop-overload"
	}
	if !r.cfg.SuppressHeaders {
		l.Header = []filter.Field{{Name: header, Value: "true"}}
	}
	r.countStatus(l.Status)
	r.reply(l)
}

// Data takes a piece of the request's body.
func (r *Router) Data(b []byte, end bool) {
	if r.phase == idle {
		return
	}
	r.ended = end
	r.sentBytes += uint64(len(b))
	ready := r.ready()
	if !ready || r.keep {
		r.save(b, ready)
	}
	if ready {
		r.bodySent = r.bodySent || len(b) > 0
		r.x.Data(b, end)
	}
	if end {
		r.complete()
	}
}

// ready tells whether the body may be sent. Bytes of a tunnel wait until it is granted.
func (r *Router) ready() bool {
	return r.headSent && r.x.Active() && (r.Upgrade == "" || r.open || !r.tunnel && r.phase == responding)
}

// save keeps a piece of the body, as far as it is allowed.
func (r *Router) save(b []byte, ready bool) {
	if r.keep && len(r.body)+len(b) > r.cfg.BufferLimit {
		r.abandon()
		if ready {
			r.body = r.body[:0]
			return
		}
	}
	r.body = append(r.body, b...)
	if !ready && len(r.body) >= r.cfg.BufferLimit {
		r.pause()
	}
}

// abandon gives up retries, mirrors and redirects of a body that is too large.
func (r *Router) abandon() {
	r.keep, r.retry, r.mirrors, r.follow = false, nil, false, false
	r.cfg.Stats.RetryOrShadowAbandoned.Add(1)
	r.cluster.Stats().RetryOrShadowAbandoned.Add(1)
}

// Trailers takes the request's trailers, which stay the owner's.
func (r *Router) Trailers(h *filter.Headers) {
	if r.phase == idle {
		return
	}
	r.ended, r.trailer = true, h
	if r.ready() {
		r.x.Trailers(h)
	}
	r.complete()
}

// complete is called when the request is whole: now the timeouts run.
func (r *Router) complete() {
	now := r.ds.Now()
	if r.plan.timeout > 0 {
		r.deadline = now.Add(r.plan.timeout)
		r.ds.Arm(r.deadline)
	}
	if r.phase == sent {
		r.armTry(now)
	}
	if r.mirrors {
		r.mirror()
		r.mirrors = false
		r.keep = r.retry != nil || r.follow
		if !r.keep && r.headSent {
			r.body = r.body[:0]
		}
	}
}

func (r *Router) armTry(now time.Time) {
	if d := r.plan.perTry; d > 0 {
		r.tryUntil = now.Add(d)
		r.ds.Arm(r.tryUntil)
	}
	if d := r.plan.perTryIdle; d > 0 {
		r.tryIdle = now.Add(d)
		r.ds.Arm(r.tryIdle)
	}
}

// pause and resume the request's source.
func (r *Router) pause() {
	if !r.paused {
		r.paused = true
		r.ds.PauseRequest(true)
	}
}

func (r *Router) resume() {
	if r.paused && !r.full {
		r.paused = false
		r.ds.PauseRequest(false)
	}
}

// try begins an attempt: chooses a host and asks for a connection to it.
func (r *Router) try() {
	r.phase, r.headSent, r.bodySent, r.full, r.softened = trying, false, false, false, false
	r.loadTaken = false
	r.retryAt = time.Time{}
	info := r.ds.Info()
	info.Attempts++
	host, flags := r.pick()
	if host == nil {
		if flags == 0 {
			flags = filter.FlagNoHealthyUpstream
		}
		info.Upstream = filter.Upstream{Cluster: r.cluster.Name(), Service: r.cluster.Spec().Service}
		status := 503
		if info.Override.Strict && info.Override.Status != 0 {
			status = info.Override.Status
		}
		r.countStatus(status)
		r.reply(filter.LocalReply{
			Status: status, Body: "no healthy upstream", Details: "no_healthy_upstream", Flags: flags,
		})
		return
	}
	r.host = host
	r.remember(host)
	host.Fill(&info.Upstream)
	info.Upstream.Failure = ""
	r.began = r.ds.Now()
	info.UpstreamStart = r.began.Sub(info.Start)
	x := r.x
	x.Lane, x.User, x.Cluster, x.Host, x.Limits = r.ds.Lane(), (*upstream)(r), r.cluster, host, r.limits
	if r.cluster.Spec().Type == cluster.Aggregate {
		x.Cluster = host.Cluster()
		x.Limits = x.Cluster.Limits(r.prio)
		info.Upstream.Cluster = r.cluster.Name()
	}
	x.Fresh = r.resends > 0
	r.dialOptions(x, r.h.Authority)
	x.Prefix = nil
	if t := r.Terminate; t != nil && t.ProxyProtocol != 0 {
		x.Prefix = cluster.ProxyHeader(t.ProxyProtocol, info.Conn.Remote, info.Conn.Local, "")
	}
	if d := r.plan.stream; d > 0 {
		r.tryLife = r.began.Add(d)
		r.ds.Arm(r.tryLife)
	}
	x.Start(r.want())
}

// dialOptions are what a request with that authority brings into the connection to x.Host.
func (r *Router) dialOptions(x *pool.Exchange, authority string) {
	spec := x.Cluster.Spec()
	x.Dial = cluster.DialOptions{}
	x.Dial.ALPN = r.ds.Info().UpstreamALPN
	if spec.HTTP.AutoSNI || spec.HTTP.AutoSAN {
		name := hostOnly(authority)
		if spec.HTTP.AutoSNI {
			x.Dial.ServerName = name
		}
		if spec.HTTP.AutoSAN {
			x.Dial.VerifyName = name
		}
	}
	info := r.ds.Info()
	if spec.HTTP.OwnPool {
		x.Dial.For = info.Conn.ID
	}
	x.Dial.Origin = info.Conn.Origin
	if info.Origin.Addr.IsValid() {
		x.Dial.Origin = info.Origin
	}
	if spec.ProxyProtocol != 0 {
		c := info.Conn
		x.Dial.Source, x.Dial.Dest = c.Remote, c.Local
		if own := x.Host.Endpoint().TLVs; spec.TLVs != nil || own != nil {
			x.Dial.TLVs = spec.TLVs.TLVs(own, info)
		}
	}
	if info.HasObjects() {
		if name := info.Text(filter.StateServerName); name != "" {
			x.Dial.ServerName = name
		}
		if names := info.Text(filter.StateSANs); names != "" {
			x.Dial.VerifyName = names
		}
		x.Dial.Shared = info.AllShared()
	}
}

// Abort gives up what is under way. Nothing more is heard from the Router.
func (r *Router) Abort() {
	r.phase = idle
	r.x.Reset(codec.ResetCancel)
	r.dropHedges()
	r.deadline, r.retryAt = time.Time{}, time.Time{}
	r.endTry()
	r.releaseRetry()
	if r.paused {
		r.paused, r.full = false, false
		r.ds.PauseRequest(false)
	}
}

// PauseResponse stops or resumes the response, for a slow client.
func (r *Router) PauseResponse(on bool) {
	if r.respPaused == on {
		return
	}
	r.respPaused = on
	r.x.Reading(!on)
	if !on {
		n := r.owed
		r.owed = 0
		r.x.Consumed(n)
	}
}

// Next is the time of the next Tick, zero: none.
func (r *Router) Next() time.Time {
	next := r.deadline
	for _, t := range [...]time.Time{r.tryUntil, r.tryIdle, r.tryLife, r.retryAt, r.hedgeLife()} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Tick does what is due.
func (r *Router) Tick(now time.Time) {
	switch {
	case r.phase == idle:
	case due(r.deadline, now):
		r.timedOut()
	case due(r.tryUntil, now):
		r.tryTimedOut("upstream_per_try_timeout", &r.cluster.Stats().UpstreamRqPerTryTimeout)
	case due(r.tryIdle, now):
		r.tryTimedOut("upstream_per_try_idle_timeout", &r.cluster.Stats().UpstreamRqPerTryIdleTimeout)
	case due(r.tryLife, now), due(r.hedgeLife(), now):
		r.cluster.Stats().UpstreamRqMaxDurationReached.Add(1)
		r.giveUp("upstream max stream duration reached", "upstream_max_stream_duration_reached", filter.FlagUpstreamMaxStreamDuration)
	case due(r.retryAt, now):
		r.try()
	}
}

// endTry forgets the deadlines of an attempt.
func (r *Router) endTry() { r.tryUntil, r.tryIdle, r.tryLife = time.Time{}, time.Time{}, time.Time{} }

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// setInt writes a number into the head's memory.
func (r *Router) setInt(h *filter.Headers, name string, n int64) {
	h.Set(name, h.Keep(strconv.AppendInt(r.scratch[:0], n, 10)))
}
