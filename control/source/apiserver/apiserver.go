// Package apiserver is the source of what a Kubernetes API server has: every kind that
// Weft reads and the server knows, pods as workloads, and nodes for where they are.
//
// Each kind is listed and watched by itself (client-go's reflector: lists in pages, and
// lists anew when a resource version has expired). Kinds whose definitions come later are
// found when they come; those whose definitions go take their objects with them. An object
// goes through the same front ends as a document in a file does; one whose new version is
// bad keeps its last good one.
//
// A server that cannot be reached changes nothing: its last state stands, and a Finding
// says so. A kind that may not be read is named by a Finding, and the others are read; it
// is tried again, so that a permission that is granted later holds.
//
// It writes nothing, and reads no Endpoints: Kubernetes mirrors those into EndpointSlices.
package apiserver

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// Name is the source's.
const Name = "kubernetes"

// DefaultCluster is the name of a cluster that nobody names, Istio's.
const DefaultCluster = "Kubernetes"

// again is after how long the kinds are asked for anew when that failed, or when
// definitions may not be watched.
const again = 30 * time.Second

// patience is after how long a start that waits for kinds says for which.
const patience = 5 * time.Second

// Options of a Source.
type Options struct {
	// Decoder reads the objects.
	Decoder *document.Decoder
	// Cluster and Network are where pods run.
	Cluster, Network string
	Log              *slog.Logger
}

// Source follows one API server. Make one with New.
type Source struct {
	opts      Options
	log       *slog.Logger
	client    dynamic.Interface
	discovery discovery.DiscoveryInterface
	news      chan struct{} // has one entry when followers have news
	kinds     chan struct{} // and when definitions have changed

	// The rest belongs to Run.
	following map[resource]*follower
	state     state
	trouble   string // why the kinds cannot be asked for
	told      bool
}

// New returns a source of the server at an address, as the flag --config has it (see Config).
// Nothing is asked before Run.
func New(address string, opts Options) (*Source, error) {
	config, err := Config(address)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	return newSource(client, d, opts), nil
}

func newSource(client dynamic.Interface, d discovery.DiscoveryInterface, opts Options) *Source {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{
		opts: opts, log: opts.Log.With("component", "source/apiserver"), client: client, discovery: d,
		news: make(chan struct{}, 1), kinds: make(chan struct{}, 1),
		following: map[resource]*follower{}, state: newState(),
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source. The first delta waits until every kind has been listed, or
// refused.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.stop()
	defer cancel()
	retry := time.NewTimer(0)
	defer retry.Stop()
	waiting := time.NewTicker(patience)
	defer waiting.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kinds:
			retry.Reset(0)
			continue
		case <-retry.C:
			if s.discover(ctx) {
				retry.Reset(again)
			}
		case <-s.news:
		case <-waiting.C:
			s.sayWaiting()
			continue
		}
		if err := s.tell(ctx, out); err != nil {
			return err
		}
	}
}

// stop waits for the followers, whose context has ended.
func (s *Source) stop() {
	for _, f := range s.following {
		f.cancel()
		<-f.ended
	}
}

// tell sends what is new.
func (s *Source) tell(ctx context.Context, out chan<- model.Delta) error {
	d := model.Delta{Source: Name}
	for r, f := range s.following {
		n := f.take()
		if len(n.changes) > 0 || n.whole {
			s.state.apply(r, n, &d)
		}
		if n.gone {
			delete(s.following, r)
		}
	}
	if !s.told && !s.complete() {
		return nil // what was taken is in the state
	}
	findings, different := s.findings()
	if s.told && !different && len(d.Upserts)+len(d.Deletes) == 0 {
		return nil
	}
	d.Findings = findings
	if !s.told {
		s.told, d.Full = true, true
		d.Upserts, d.Deletes = s.state.all(), nil
		d.Why = fmt.Sprintf("%d objects of Kubernetes", len(d.Upserts))
		s.log.Info("all kinds are read", "kinds", len(s.following), "objects", len(d.Upserts))
	} else {
		d.Why = why(&d)
	}
	return source.Send(ctx, out, d)
}

// why says for people what a delta is about.
func why(d *model.Delta) string {
	n := len(d.Upserts) + len(d.Deletes)
	switch {
	case n == 0:
		return "what is wrong with objects of Kubernetes"
	case n > 1:
		return fmt.Sprintf("%d objects of Kubernetes", n)
	case len(d.Deletes) == 1:
		return d.Deletes[0].Title() + " is gone"
	}
	return d.Upserts[0].Head().Key.Title() + " changed"
}

// complete tells whether every kind has been listed or refused.
func (s *Source) complete() bool {
	if s.trouble != "" && len(s.following) == 0 {
		return false
	}
	for _, f := range s.following {
		if !f.known() {
			return false
		}
	}
	return len(s.following) > 0
}

func (s *Source) sayWaiting() {
	if s.told {
		return
	}
	for _, f := range s.following {
		if !f.known() {
			s.log.Info("waiting for the API server", "resource", f.is.String(), "error", f.failure())
			return
		}
	}
	s.log.Info("waiting for the API server", "error", s.trouble)
}
