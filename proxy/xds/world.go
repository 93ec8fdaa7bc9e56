package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// world is a stream of the state-of-the-world variant. A response holds all that
// was asked for; of listeners and clusters what is missing has gone, of others
// nothing is said. Only what differs from the response before goes to the
// Handler.
type world struct {
	client  *Client
	stream  grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	types   map[string]*worldType
	greeted bool
	timer   *time.Timer // armed while a refusal is held back
}

// worldType is one type's part of a stream.
type worldType struct {
	asked          []string // as last told to the server
	version, nonce string   // version: last accepted
	// refused is the version that was not taken, and how often in a row. Some
	// servers answer a refusal with the same again, at once: it is held back a
	// while then, with its reason.
	refused string
	times   int
	detail  *statuspb.Status
	at      time.Time
}

// holdBack bounds the wait before the same version is refused again.
const holdBack = 10 * time.Second

func (s *world) recv() (proto.Message, error) { return s.stream.Recv() }

func (s *world) due() <-chan time.Time {
	if s.timer == nil {
		return nil
	}
	return s.timer.C
}

// later sends refusals that were held back long enough.
func (s *world) later() error {
	s.timer = nil
	for typeURL, t := range s.types {
		if t.detail != nil && time.Until(t.at) <= 0 {
			if err := s.send(typeURL, t); err != nil {
				return err
			}
		}
	}
	s.arm()
	return nil
}

// arm sets the timer to the first refusal that is held back.
func (s *world) arm() {
	var first time.Time
	for _, t := range s.types {
		if t.detail != nil && (first.IsZero() || t.at.Before(first)) {
			first = t.at
		}
	}
	if !first.IsZero() {
		s.timer = time.NewTimer(time.Until(first))
	}
}

// refuse notes a refusal. now: it is to be sent at once.
func (t *worldType) refuse(version string, detail *statuspb.Status) (now bool) {
	if t.refused != version {
		t.refused, t.times = version, 0
	}
	wait := min(holdBack, 100*time.Millisecond<<min(t.times, 10))
	t.times++
	t.detail, t.at = detail, time.Now().Add(wait)
	return t.times == 1
}

// subscribe implements dialect.
func (s *world) subscribe() error {
	for _, w := range s.client.subs.snapshot(true) {
		for _, n := range slices.Concat(w.again, w.dropped, w.forgotten) {
			delete(s.client.seen[w.typeURL], n)
		}
		names := w.names
		if w.all && len(names) > 0 {
			names = append([]string{"*"}, names...)
		}
		t := s.types[w.typeURL]
		switch {
		case t == nil && !w.all && len(names) == 0:
			continue // an empty first request would mean all
		case t == nil:
			t = &worldType{}
			s.types[w.typeURL] = t
		case slices.Equal(t.asked, names) && len(w.again) == 0:
			continue
		}
		t.asked = names
		if err := s.send(w.typeURL, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *world) send(typeURL string, t *worldType) error {
	r := &discoveryv3.DiscoveryRequest{
		TypeUrl: typeURL, ResourceNames: t.asked, VersionInfo: t.version, ResponseNonce: t.nonce, ErrorDetail: t.detail,
	}
	t.detail = nil
	if !s.greeted || s.client.opt.EveryNode {
		r.Node = s.client.opt.Node
		s.greeted = true
	}
	if err := s.stream.Send(r); err != nil {
		return fmt.Errorf("ADS stream: send %s: %w", short(typeURL), err)
	}
	return nil
}

// health implements dialect. Nothing is asked for, and nothing answered.
func (s *world) health(failure *statuspb.Status) error {
	return s.send(wire.TypeHealth, &worldType{detail: failure})
}

// answer implements dialect.
func (s *world) answer(m proto.Message) error {
	r, ok := m.(*discoveryv3.DiscoveryResponse)
	if !ok {
		return fmt.Errorf("BUG: %T on a state-of-the-world stream", m)
	}
	t := s.types[r.TypeUrl]
	if t == nil {
		return nil // never asked for
	}
	t.nonce = r.Nonce
	rejected := s.client.applyWorld(r)
	if len(rejected) == 0 {
		t.version, t.refused = r.VersionInfo, ""
		return s.send(r.TypeUrl, t)
	}
	if !t.refuse(r.VersionInfo, s.client.refuse(r.TypeUrl, rejected)) {
		s.arm()
		return nil
	}
	return s.send(r.TypeUrl, t)
}

// applyWorld hands to the Handler what is new in a response.
func (c *Client) applyWorld(r *discoveryv3.DiscoveryResponse) []Rejection {
	have := c.seen[r.TypeUrl]
	if have == nil {
		have = map[string]uint64{}
		c.seen[r.TypeUrl] = have
	}
	u := Update{Type: r.TypeUrl}
	var rejected []Rejection
	now := make(map[string]uint64, len(r.Resources))
	for _, body := range r.Resources {
		res, err := named(r.TypeUrl, body)
		if err != nil {
			rejected = append(rejected, Rejection{res.Name, err})
			continue
		}
		if res.Version == "" {
			res.Version = r.VersionInfo
		}
		now[res.Name] = xxhash.Sum64(res.Body.GetValue())
		if old, ok := have[res.Name]; !ok || old != now[res.Name] {
			u.Set = append(u.Set, res)
		}
	}
	if r.TypeUrl == wire.TypeListener || r.TypeUrl == wire.TypeCluster || r.TypeUrl == wire.TypeScope {
		for _, n := range slices.Sorted(maps.Keys(have)) {
			if _, ok := now[n]; !ok {
				u.Removed = append(u.Removed, n)
				delete(have, n)
			}
		}
	}
	rejected = append(rejected, c.opt.Handler(u)...)
	maps.Copy(have, now)
	for _, x := range rejected {
		delete(have, x.Name) // it is new again when it comes again
	}
	return rejected
}

// named finds the name of a resource: in a wrapper, or in field 1 of the body,
// where all types of Envoy's API have it.
func named(typeURL string, body *anypb.Any) (Resource, error) {
	if body.MessageIs(&discoveryv3.Resource{}) {
		w := &discoveryv3.Resource{}
		if err := body.UnmarshalTo(w); err != nil {
			return Resource{}, err
		}
		body = w.Resource
		if w.Name != "" && body.GetTypeUrl() == typeURL {
			return Resource{Name: w.Name, Version: w.Version, Body: body, Aliases: w.Aliases}, nil
		}
	}
	if body.GetTypeUrl() != typeURL {
		return Resource{}, fmt.Errorf("body is a %s", body.GetTypeUrl())
	}
	name, err := firstString(body.GetValue())
	if err == nil && name == "" {
		err = errors.New("a resource without a name")
	}
	return Resource{Name: name, Body: body}, err
}

// firstString is the string field number 1 of a message.
func firstString(b []byte) (name string, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return "", protowire.ParseError(n)
			}
			name, b = string(v), b[n:] // the last one counts
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return "", protowire.ParseError(n)
		}
		b = b[n:]
	}
	return name, nil
}
