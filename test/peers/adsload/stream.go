package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// probe is the change that streams now wait for.
type probe struct {
	typeURL string
	marker  []byte
	start   time.Time
	wg      *sync.WaitGroup
}

type counters struct {
	msgs, bytes, res [len(types)]atomic.Int64
	errs             atomic.Int64
}

// snapshot is counters by type, for the difference between two moments.
type snapshot struct{ Msgs, Bytes, Res [len(types)]int64 }

func (c *counters) snap() (s snapshot) {
	for i := range types {
		s.Msgs[i], s.Bytes[i], s.Res[i] = c.msgs[i].Load(), c.bytes[i].Load(), c.res[i].Load()
	}
	return s
}

func (a snapshot) sub(b snapshot) (d snapshot) {
	for i := range types {
		d.Msgs[i], d.Bytes[i], d.Res[i] = a.Msgs[i]-b.Msgs[i], a.Bytes[i]-b.Bytes[i], a.Res[i]-b.Res[i]
	}
	return d
}

type stream struct {
	id      int
	node    *corev3.Node
	delta   bool
	cnt     *counters
	probe   *atomic.Pointer[probe]
	cc      *grpc.ClientConn
	cs      grpc.ClientStream
	began   time.Time
	ready   chan struct{} // closed when the first full set is in
	readyAt time.Duration
	isReady bool
	// away: the stream is to come back; ended is closed when it has ended, returned
	// when it has all again.
	away            bool
	ended, returned chan struct{}
	returnedAt      time.Duration

	hit    *probe // last probe seen
	hitAt  time.Duration
	hitMu  sync.Mutex
	storm  atomic.Pointer[storm]
	seen   map[int]int                // storm: number of the newest change by service
	subs   map[string][]string        // type -> names asked for
	have   map[string]map[string]bool // EDS/RDS names received
	gotAny map[string]bool
	depsBy map[string]map[string][]string // delta: type -> resource -> dependents
	keep   func(response)                 // sees every response
	use    []string                       // virtual hosts that the proxy asks for; none: it is not on demand
	held   map[string]map[string]string   // type -> resource -> version, to come back with; nil: not kept
}

func newStream(id int, node *corev3.Node, delta bool, cnt *counters, p *atomic.Pointer[probe]) *stream {
	s := &stream{id: id, node: node, delta: delta, cnt: cnt, probe: p, ready: make(chan struct{})}
	s.reset()
	return s
}

// reset makes a stream as good as new for another try; its clock goes on.
func (s *stream) reset() {
	if s.cc != nil {
		_ = s.cc.Close()
	}
	s.subs, s.gotAny = map[string][]string{}, map[string]bool{}
	s.have = map[string]map[string]bool{typeEDS: {}, typeRDS: {}, typeVHDS: {}}
	s.depsBy = map[string]map[string][]string{typeCDS: {}, typeLDS: {}}
}

// open opens a stream, and asks for clusters: Envoy asks for listeners once they are in.
func (s *stream) open(ctx context.Context, addr string, window int) error {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if err := s.connect(ctx, addr, window); err != nil {
		return err
	}
	return s.request(ask{typ: typeCDS, node: s.node})
}

func (s *stream) connect(ctx context.Context, addr string, window int) error {
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.ForceCodec(rawCodec{})),
		grpc.WithInitialWindowSize(int32(window)), grpc.WithInitialConnWindowSize(int32(window)),
		grpc.WithReadBufferSize(64<<10))
	if err != nil {
		return err
	}
	s.cc = cc
	m := "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
	if s.delta {
		m = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	}
	s.cs, err = cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m, grpc.WaitForReady(true))
	return err
}

// ask is one request: of the state of the world it carries all names, of delta
// those added and dropped.
type ask struct {
	typ            string
	names, drop    []string
	version, nonce string
	node           *corev3.Node
	held           map[string]string // delta: versions by name
}

func (s *stream) request(a ask) error {
	var m proto.Message
	if s.delta {
		m = &discoveryv3.DeltaDiscoveryRequest{
			Node: a.node, TypeUrl: a.typ, ResponseNonce: a.nonce, ResourceNamesSubscribe: a.names, ResourceNamesUnsubscribe: a.drop,
			InitialResourceVersions: a.held,
		}
	} else {
		m = &discoveryv3.DiscoveryRequest{Node: a.node, TypeUrl: a.typ, VersionInfo: a.version, ResponseNonce: a.nonce, ResourceNames: a.names}
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return s.cs.SendMsg(&b)
}

type lastResp struct{ version, nonce string }

// run takes responses until the stream ends, and acknowledges them.
func (s *stream) run() error {
	ended := make(chan struct{})
	s.ended = ended
	defer close(ended)
	last := map[string]lastResp{}
	var buf []byte
	for {
		if err := s.cs.RecvMsg(&buf); err != nil {
			return err
		}
		now := time.Now()
		r, err := parseResponse(buf, s.delta)
		if err != nil {
			return err
		}
		if err := s.count(r, buf, now); err != nil {
			return err
		}
		if s.keep != nil {
			s.keep(r)
		}
		s.hold(r)
		for _, x := range r.rs {
			s.see(r.typeURL, x, now)
		}
		if err := s.answer(r, last); err != nil {
			return err
		}
		if !s.isReady && s.complete() {
			s.isReady = true
			s.readyAt = now.Sub(s.began)
			close(s.ready)
		}
	}
}

// count counts a response, and looks for the change that streams wait for.
func (s *stream) count(r response, raw []byte, now time.Time) error {
	i := typeIndex(r.typeURL)
	if r.typeURL == typeGhost {
		return nil
	}
	if i < 0 {
		return fmt.Errorf("type %s came without being asked for", r.typeURL)
	}
	s.cnt.msgs[i].Add(1)
	s.cnt.bytes[i].Add(int64(len(raw)))
	s.cnt.res[i].Add(int64(len(r.rs)))
	if p := s.probe.Load(); p != nil && p != s.hit && p.typeURL == r.typeURL && bytes.Contains(raw, p.marker) {
		s.hitMu.Lock()
		s.hit, s.hitAt = p, now.Sub(p.start)
		s.hitMu.Unlock()
		p.wg.Done()
	}
	return nil
}

// answer acknowledges a response and asks for what follows from it.
func (s *stream) answer(r response, last map[string]lastResp) error {
	last[r.typeURL] = lastResp{r.version, r.nonce}
	var names []string
	if !s.delta {
		names = s.subs[r.typeURL]
	}
	if err := s.request(ask{typ: r.typeURL, names: names, version: r.version, nonce: r.nonce}); err != nil {
		return err
	}
	if r.typeURL == typeGhost {
		s.back()
		return nil
	}
	first := !s.gotAny[r.typeURL]
	s.gotAny[r.typeURL] = true
	switch {
	case r.typeURL == typeCDS || r.typeURL == typeLDS:
		if err := s.follow(r, last); err != nil {
			return err
		}
		if first && r.typeURL == typeCDS {
			return s.request(ask{typ: typeLDS})
		}
	case !s.isReady:
		if err := s.demand(r, first); err != nil {
			return err
		}
		for _, x := range r.rs {
			name := x.name
			if name == "" {
				name = firstString(x.val)
			}
			s.have[r.typeURL][name] = true
		}
	}
	return nil
}

func (s *stream) complete() bool {
	if !s.gotAny[typeCDS] || !s.gotAny[typeLDS] {
		return false
	}
	for _, t := range []string{typeEDS, typeRDS} {
		if len(s.have[t]) < len(s.subs[t]) {
			return false
		}
	}
	for _, name := range s.use {
		if !s.have[typeVHDS][name] {
			return false
		}
	}
	return true
}

// demand asks for virtual hosts: Envoy first for none, and then, as requests come, for
// one after the other.
func (s *stream) demand(r response, first bool) error {
	if len(s.use) == 0 || !first {
		return nil
	}
	if r.typeURL == typeRDS {
		return s.request(ask{typ: typeVHDS})
	}
	if r.typeURL != typeVHDS {
		return nil
	}
	for _, name := range s.use {
		if err := s.request(ask{typ: typeVHDS, names: []string{name}}); err != nil {
			return err
		}
	}
	return nil
}

// follow subscribes to what a CDS or LDS response names.
func (s *stream) follow(r response, last map[string]lastResp) error {
	d := dependents(r)
	next := typeEDS
	if r.typeURL == typeLDS {
		next = typeRDS
	}
	old := s.subs[next]
	if !s.delta {
		if sameNames(old, d.names) {
			return nil
		}
		s.subs[next] = d.names
		if len(d.names) == 0 && len(old) == 0 {
			return nil
		}
		l := last[next]
		return s.request(ask{typ: next, names: d.names, version: l.version, nonce: l.nonce})
	}
	add, drop := s.difference(r, d, old, next)
	if len(add)+len(drop) == 0 {
		return nil
	}
	return s.request(ask{typ: next, names: add, drop: drop})
}

// difference is what leads from the names asked for to those that are wanted now.
func (s *stream) difference(r response, d *depInfo, old []string, next string) (add, drop []string) {
	by := s.depsBy[r.typeURL]
	maps.Copy(by, d.by)
	for _, n := range r.removed {
		delete(by, n)
	}
	want, had := map[string]bool{}, map[string]bool{}
	for _, v := range by {
		for _, n := range v {
			want[n] = true
		}
	}
	for _, n := range old {
		had[n] = true
		if !want[n] {
			drop = append(drop, n)
		}
	}
	for n := range want {
		if !had[n] {
			add = append(add, n)
		}
	}
	s.subs[next] = slices.Collect(maps.Keys(want))
	return add, drop
}

func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	m := make(map[string]bool, len(a))
	for _, n := range a {
		m[n] = true
	}
	for _, n := range b {
		if !m[n] {
			return false
		}
	}
	return true
}
