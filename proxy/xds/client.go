// Package xds is the client of a control plane: ADS, for any types and
// any subscriptions by name or wildcard, over one stream.
//
// It guarantees: updates are handed to the Handler one response at a time, in
// order, from the goroutine of Run, which waits for the Handler (so a slow
// consumer holds the server back); each response is answered, with an error
// that names every rejected resource when there is one; what was accepted
// survives the loss of the stream, which is remade with backoff and resumed by
// initial_resource_versions. While the server is away nothing happens at all.
//
// It speaks the incremental variant, and for servers that lack it that of the
// state of the world. It does not decode resources (but for their names, in the
// latter), and keeps no bodies: the Handler owns them.
package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
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
	// StateOfTheWorld speaks the variant in which every response is the whole
	// state of its type, for servers that know no other.
	StateOfTheWorld bool
	// EveryNode sends the node with every request of that variant, not only with
	// the first (set_node_on_first_message_only false).
	EveryNode bool
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
	// seen holds hashes of what was handed over in the state-of-the-world variant.
	seen map[string]map[string]uint64
	// health is the newest word on the program; nil: there is none.
	health atomic.Pointer[string]
}

// New returns a client that does nothing until Run.
func New(opt Options) *Client {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Connected == nil {
		opt.Connected = func(bool) {}
	}
	return &Client{opt: opt, subs: newSubscriptions(), versions: map[string]map[string]string{}, seen: map[string]map[string]uint64{}}
}

// SubscribeAll subscribes to all resources of a type (wildcard).
func (c *Client) SubscribeAll(typeURL string) { c.subs.all(typeURL) }

// Subscribe subscribes to resources by name.
func (c *Client) Subscribe(typeURL string, names ...string) { c.subs.add(typeURL, names) }

// Unsubscribe ends subscriptions by name. A later Subscribe brings the
// resource again.
func (c *Client) Unsubscribe(typeURL string, names ...string) { c.subs.remove(typeURL, names) }

// Health tells the server how the program is that the proxy is for, as Istio's agents do,
// now and after each reconnect: failure is what is wrong, "" when it is well.
func (c *Client) Health(failure string) {
	c.health.Store(&failure)
	c.subs.signal()
}

// tell sends what has not been said of the program on a stream.
func (c *Client) tell(s dialect, said *string) (*string, error) {
	now := c.health.Load()
	if now == said {
		return said, nil
	}
	var detail *statuspb.Status
	if *now != "" {
		detail = &statuspb.Status{Code: int32(codes.Unavailable), Message: *now}
	}
	return now, s.health(detail)
}

// Names subscribes to names of one type.
type Names struct {
	Client  *Client
	TypeURL string
}

// Subscribe adds names.
func (n Names) Subscribe(names ...string) { n.Client.Subscribe(n.TypeURL, names...) }

// Unsubscribe drops names.
func (n Names) Unsubscribe(names ...string) { n.Client.Unsubscribe(n.TypeURL, names...) }

// Forget tells that resources which were not asked for by their own names (but
// by an alias, or as all) are not held any more.
func (c *Client) Forget(typeURL string, names ...string) { c.subs.forget(typeURL, names) }

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

// dialect is one stream in a variant of the protocol.
type dialect interface {
	// recv waits for the next response. It has a goroutine of its own.
	recv() (proto.Message, error)
	// subscribe tells the server what changed since it was last told.
	subscribe() error
	// answer hands a response over and acknowledges it, or not.
	answer(r proto.Message) error
	// health says how the program is; nil: well.
	health(failure *statuspb.Status) error
	// due is when later wants to be called; nil: not at all.
	due() <-chan time.Time
	later() error
}

// open begins a stream.
func (c *Client) open(ctx context.Context) (dialect, error) {
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(c.opt.Conn)
	if c.opt.StateOfTheWorld {
		stream, err := ads.StreamAggregatedResources(ctx)
		return &world{client: c, stream: stream, types: map[string]*worldType{}}, err
	}
	stream, err := ads.DeltaAggregatedResources(ctx)
	return &delta{client: c, stream: stream, sent: map[string]*sentType{}}, err
}

// session runs one stream. answered: the server sent at least one response.
func (c *Client) session(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.open(ctx)
	if err != nil {
		cancel()
		return false, fmt.Errorf("open the ADS stream: %w", err)
	}
	responses := make(chan proto.Message)
	ended := make(chan error, 1)
	go func() { ended <- receive(ctx, s, responses) }()
	running := true
	var said *string // of the program, on this stream
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
		if said, err = c.tell(s, said); err != nil {
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
		case <-s.due():
			if err := s.later(); err != nil {
				return answered, err
			}
		case <-wake:
		case <-ctx.Done():
			return answered, ctx.Err()
		}
	}
}

func receive(ctx context.Context, s dialect, out chan<- proto.Message) error {
	for {
		r, err := s.recv()
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

// refuse makes the detail of a NACK; nil: nothing was rejected.
func (c *Client) refuse(typeURL string, rejected []Rejection) *statuspb.Status {
	if len(rejected) == 0 {
		return nil
	}
	text := describe(rejected)
	c.opt.Logger.Warn("control plane: rejected resources", "type", short(typeURL), "error", text)
	return &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
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
