package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
)

// States of a follower.
const (
	connecting = "connecting" // it has never said anything
	synced     = "synced"
	stale      = "stale" // what it said last stands
)

// follower is one registry as it is followed.
type follower struct {
	spec     *model.Registry
	stop     context.CancelFunc // nil: it does not run
	services map[string]*service
	// foreign: services may be of another registry, which the object named before.
	foreign bool

	state          string
	since, success time.Time
	failure        string
	updates        int
}

// service is what is known of a service.
type service struct {
	Service
	// emptySince is when the registry had no instance any more; Instances are the last then.
	emptySince time.Time
	parts      []*part
	unusable   string // why instances cannot be used; empty: all can
}

func newFollower(r *model.Registry) *follower {
	return &follower{spec: r, services: map[string]*service{}, state: connecting, since: time.Now()}
}

func (f *follower) end() {
	if f.stop != nil {
		f.stop()
	}
}

func (f *follower) become(state string, at time.Time) {
	if f.state != state {
		f.state, f.since = state, at
	}
}

func (f *follower) fail(err error, at time.Time) {
	f.failure = err.Error()
	if !f.success.IsZero() || len(f.services) > 0 {
		f.become(stale, at)
	}
}

// start runs the client of a registry until it is to end. With something missing that it needs, it waits for another object.
func (s *Source) start(ctx context.Context, f *follower, missing error) {
	ctx, f.stop = context.WithCancel(ctx)
	if missing != nil {
		f.fail(missing, time.Now())
		return
	}
	log := s.log.With("registry", f.spec.Key.Title(), "type", f.spec.Type)
	make := s.opts.Makers[f.spec.Type]
	if make == nil {
		f.failure = fmt.Sprintf("there is no client for registries of the type %q", f.spec.Type)
		return
	}
	client, err := make(f.spec, log)
	if err != nil {
		f.failure = err.Error()
		return
	}
	to := &sink{ctx: ctx, of: f, in: s.in}
	s.wg.Go(func() {
		wait := backoff.Backoff{Min: 200 * time.Millisecond, Max: 15 * time.Second}
		for {
			to.whole = false
			err := client.Follow(ctx, to)
			if ctx.Err() != nil {
				return
			}
			if to.whole {
				wait.Reset()
			}
			log.Warn("the registry is not followed", "error", err)
			to.send(event{of: f, err: err})
			if wait.Wait(ctx) != nil {
				return
			}
		}
	})
}

// sink hands over what a client says.
type sink struct {
	ctx   context.Context
	of    *follower
	in    chan<- event
	whole bool
}

// Service implements Sink.
func (k *sink) Service(s Service) { k.send(event{of: k.of, service: &s}) }

// Complete implements Sink.
func (k *sink) Complete(names []string) {
	k.whole = true
	k.send(event{of: k.of, names: names})
}

func (k *sink) send(e event) {
	select {
	case k.in <- e:
	case <-k.ctx.Done():
	}
}

func (f *follower) status() model.RegistryStatus {
	st := model.RegistryStatus{
		Registry: f.spec.Key, Type: f.spec.Type, State: f.state, Since: f.since, LastSuccess: f.success, Error: f.failure, Updates: f.updates,
	}
	for _, s := range f.services {
		if len(s.parts) == 0 {
			continue
		}
		st.Services++
		if !s.emptySince.IsZero() {
			st.Retained++
		}
		for _, p := range s.parts {
			st.Instances += len(p.list)
		}
	}
	return st
}

// most is how many services a Finding names.
const most = 5

func (f *follower) findings() []model.Finding {
	var out []model.Finding
	add := func(code string, severity model.Severity, message, remedy string) {
		out = append(out, model.Finding{Code: code, Severity: severity, Object: f.spec.Key, Origin: f.spec.At("spec"), Message: message, Remedy: remedy})
	}
	if f.failure != "" {
		stands := "no services have come from it yet"
		if len(f.services) > 0 {
			stands = fmt.Sprintf("what it said last (%d services) stands", len(f.services))
		}
		add(CodeUnreachable, model.Warning, "the registry cannot be followed: "+f.failure+"; "+stands, "start it, or correct spec.addresses and credentials")
	}
	var retained, unusable []string
	for name, s := range f.services {
		if len(s.parts) > 0 && !s.emptySince.IsZero() {
			retained = append(retained, name)
		}
		if s.unusable != "" {
			unusable = append(unusable, name+" ("+s.unusable+")")
		}
	}
	if len(retained) > 0 {
		add(CodeRetained, model.Info, "the registry has no instance any more of "+some(retained)+": the last ones stay for "+f.spec.Retain.String()+" in all",
			"nothing, if they are to come back; else shorten spec.retain")
	}
	if len(unusable) > 0 {
		add(CodeUnusable, model.Warning, "instances cannot be used of "+some(unusable), "correct what registers them, or leave the services out with spec.services.exclude")
	}
	return out
}

// some names the first of many.
func some(list []string) string {
	slices.Sort(list)
	if n := len(list) - most; n > 0 {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}
