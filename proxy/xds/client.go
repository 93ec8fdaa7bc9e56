// Package xds is the client of a control plane: delta ADS, for any types and
// any subscriptions by name or wildcard, over one stream.
//
// It guarantees: updates are handed to the Handler one response at a time, in
// order, from the goroutine of Run, which waits for the Handler (so a slow
// consumer holds the server back); each response is answered, with an error
// that names every rejected resource when there is one; what was accepted
// survives the loss of the stream, which is remade with backoff and resumed by
// initial_resource_versions. While the server is away nothing happens at all.
//
// It does not decode resources, does not speak the state-of-the-world variant,
// and keeps no bodies: the Handler owns them.
package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/backoff"
)

// Resource is one resource as it came.
type Resource struct {
	Name, Version string
	Body          *anypb.Any // nil: the server says only that the name exists
	Aliases       []string
}

// Update is one response of the server.
type Update struct {
	Type    string
	Set     []Resource
	Removed []string
}

// Rejection says why a resource of an Update was not taken.
type Rejection struct {
	Name string
	Err  error
}

// Handler takes updates. What it does not reject is accepted. It may call
// Subscribe and Unsubscribe.
type Handler func(u Update) []Rejection

// Options of a Client.
type Options struct {
	Conn    grpc.ClientConnInterface
	Node    *corev3.Node
	Handler Handler
	Logger  *slog.Logger
	// Connected, when set, is told of every change of the stream's state.
	Connected func(up bool)
}

// Client is an ADS client. Subscriptions may be changed from any goroutine, at
// any time, before and during Run.
type Client struct {
	opt  Options
	subs *subscriptions
	// versions holds what was accepted, by type and name; Run's own.
	versions map[string]map[string]string
}

// New returns a client that does nothing until Run.
func New(opt Options) *Client {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Connected == nil {
		opt.Connected = func(bool) {}
	}
	return &Client{opt: opt, subs: newSubscriptions(), versions: map[string]map[string]string{}}
}

// SubscribeAll subscribes to all resources of a type (wildcard).
func (c *Client) SubscribeAll(typeURL string) { c.subs.all(typeURL) }

// Subscribe subscribes to resources by name.
func (c *Client) Subscribe(typeURL string, names ...string) { c.subs.add(typeURL, names) }

// Unsubscribe ends subscriptions by name. A later Subscribe brings the
// resource again.
func (c *Client) Unsubscribe(typeURL string, names ...string) { c.subs.remove(typeURL, names) }

// Run keeps a stream to the server until ctx ends; it returns ctx's error.
func (c *Client) Run(ctx context.Context) error {
	b := backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		answered, err := c.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answered {
			b.Reset()
		}
		c.opt.Logger.Warn("control plane: stream ended, keeping what is there", "error", err)
		if err := b.Wait(ctx); err != nil {
			return err
		}
		if r, ok := c.opt.Conn.(interface{ ResetConnectBackoff() }); ok {
			r.ResetConnectBackoff()
		}
	}
}

// session runs one stream. answered: the server sent at least one response.
func (c *Client) session(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c.opt.Conn).DeltaAggregatedResources(ctx)
	if err != nil {
		cancel()
		return false, fmt.Errorf("open the ADS stream: %w", err)
	}
	s := &session{client: c, stream: stream, sent: map[string]*sentType{}}
	responses := make(chan *discoveryv3.DeltaDiscoveryResponse)
	ended := make(chan error, 1)
	go func() { ended <- receive(ctx, stream, responses) }()
	running := true
	defer func() {
		cancel()
		if running {
			<-ended
		}
		if answered {
			c.opt.Connected(false)
		}
	}()
	for {
		wake := c.subs.changed()
		if err := s.subscribe(); err != nil {
			return answered, err
		}
		select {
		case r := <-responses:
			if !answered {
				answered = true
				c.opt.Logger.Info("control plane: connected")
				c.opt.Connected(true)
			}
			if err := s.answer(r); err != nil {
				return answered, err
			}
		case err := <-ended:
			running = false
			return answered, err
		case <-wake:
		case <-ctx.Done():
			return answered, ctx.Err()
		}
	}
}

func receive(ctx context.Context, stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse], out chan<- *discoveryv3.DeltaDiscoveryResponse) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("ADS stream: %w", err)
		}
		select {
		case out <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// session is the state of one stream.
type session struct {
	client  *Client
	stream  grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	sent    map[string]*sentType
	greeted bool // the node has been sent
}

// sentType is what the server knows of a type's subscription.
type sentType struct {
	all   bool
	names map[string]bool
}

func (s *session) send(r *discoveryv3.DeltaDiscoveryRequest) error {
	if !s.greeted {
		r.Node = s.client.opt.Node
		s.greeted = true
	}
	if err := s.stream.Send(r); err != nil {
		return fmt.Errorf("ADS stream: send %s: %w", short(r.TypeUrl), err)
	}
	return nil
}

// subscribe tells the server what changed since it was last told.
func (s *session) subscribe() error {
	for _, w := range s.client.subs.snapshot() {
		s.client.forget(w)
		t := s.sent[w.typeURL]
		first := t == nil
		if first {
			if !w.all && len(w.names) == 0 {
				continue // an empty first request would mean all
			}
			t = &sentType{names: map[string]bool{}}
			s.sent[w.typeURL] = t
		}
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL}
		diff(w, t, r)
		if first {
			if w.all && len(r.ResourceNamesSubscribe) == 1 {
				r.ResourceNamesSubscribe = nil // the wildcard that every server knows
			}
			r.InitialResourceVersions = s.client.versions[w.typeURL]
		} else if len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) == 0 {
			continue
		}
		if err := s.send(r); err != nil {
			return err
		}
	}
	return nil
}

// forget drops the versions of what the Handler let go of.
func (c *Client) forget(w wanted) {
	for _, n := range w.again {
		delete(c.versions[w.typeURL], n)
	}
	if w.all {
		return
	}
	for _, n := range w.dropped {
		delete(c.versions[w.typeURL], n)
	}
}

// diff puts into r what leads from t to w, and makes t equal to w.
func diff(w wanted, t *sentType, r *discoveryv3.DeltaDiscoveryRequest) {
	if w.all && !t.all {
		r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, "*")
		t.all = true
	}
	for _, n := range w.names {
		if !t.names[n] {
			t.names[n] = true
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, n)
		}
	}
	for _, n := range w.again {
		if !slices.Contains(r.ResourceNamesSubscribe, n) {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, n)
		}
	}
	for _, n := range w.dropped {
		if t.names[n] {
			delete(t.names, n)
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, n)
		}
	}
}

// answer hands a response over and acknowledges it, or not.
func (s *session) answer(r *discoveryv3.DeltaDiscoveryResponse) error {
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
	if rejected := s.client.apply(r); len(rejected) > 0 {
		text := describe(rejected)
		s.client.opt.Logger.Warn("control plane: rejected resources", "type", short(r.TypeUrl), "error", text)
		ack.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
	}
	return s.send(ack)
}

// apply hands a response to the Handler and remembers the accepted versions.
func (c *Client) apply(r *discoveryv3.DeltaDiscoveryResponse) []Rejection {
	u := Update{Type: r.TypeUrl, Removed: r.RemovedResources, Set: make([]Resource, 0, len(r.Resources))}
	var rejected []Rejection
	for _, res := range r.Resources {
		if b := res.Resource; b != nil && b.TypeUrl != r.TypeUrl {
			rejected = append(rejected, Rejection{res.Name, fmt.Errorf("body is a %s", b.TypeUrl)})
			continue
		}
		u.Set = append(u.Set, Resource{Name: res.Name, Version: res.Version, Body: res.Resource, Aliases: res.Aliases})
	}
	rejected = append(rejected, c.opt.Handler(u)...)
	have := c.versions[r.TypeUrl]
	if have == nil {
		have = map[string]string{}
		c.versions[r.TypeUrl] = have
	}
	for _, n := range r.RemovedResources {
		delete(have, n)
	}
	bad := make(map[string]bool, len(rejected))
	for _, x := range rejected {
		bad[x.Name] = true
	}
	for _, res := range u.Set {
		if !bad[res.Name] && c.subs.wants(r.TypeUrl, res.Name) {
			have[res.Name] = res.Version
		}
	}
	return rejected
}

// maxDescribed bounds the text of a NACK: it travels in an HTTP/2 message and
// is read by people.
const maxDescribed = 20

func describe(rejected []Rejection) string {
	lines := make([]string, 0, maxDescribed+1)
	for i, r := range rejected {
		if i == maxDescribed {
			lines = append(lines, fmt.Sprintf("and %d more", len(rejected)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%s: %v", r.Name, r.Err))
	}
	return strings.Join(lines, "\n")
}

// Describe joins rejections into one error, nil when there are none; for those
// who load resources from files.
func Describe(rejected []Rejection) error {
	if len(rejected) == 0 {
		return nil
	}
	return errors.New(describe(rejected))
}

// short is the last part of a type URL.
func short(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }
