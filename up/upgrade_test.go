package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/wire"
)

func instances() []wire.Instance {
	return []wire.Instance{
		{Name: "a-0", Namespace: "default", Engine: "go"}, {Name: "b-0", Namespace: "default", Engine: "go"},
		{Name: "b-1", Namespace: "default", Engine: "go"}, {Name: "b-2", Namespace: "default", Engine: "go"},
		{Name: "e-0", Namespace: "default", Engine: "envoy"},
	}
}

func labelled(key string) map[string]string {
	return map[string]string{"app": strings.TrimPrefix(key, "default/")[:1]}
}

// TestRollout: what is replaced, in which steps, and when it stops.
func TestRollout(t *testing.T) {
	for name, c := range map[string]struct {
		req  wire.UpgradeRequest
		bad  string // fails
		want string
	}{
		"one":         {wire.UpgradeRequest{Instances: []string{"b-1"}}, "", "b-1 | finished 1/1"},
		"full name":   {wire.UpgradeRequest{Instances: []string{"b-1.default"}}, "", "b-1 | finished 1/1"},
		"all":         {wire.UpgradeRequest{All: true}, "", "skip e-0 a-0 | b-0 | b-1 | b-2 | finished 4/4"},
		"two by two":  {wire.UpgradeRequest{All: true, MaxUnavailable: "50%"}, "", "skip e-0 a-0+b-0 | b-1+b-2 | finished 4/4"},
		"partition":   {wire.UpgradeRequest{All: true, Partition: "3"}, "", "skip e-0 a-0 | finished 1/1"},
		"percentage":  {wire.UpgradeRequest{All: true, Partition: "26%"}, "", "skip e-0 a-0 | b-0 | finished 2/2"},
		"all kept":    {wire.UpgradeRequest{All: true, Partition: "9"}, "", "skip e-0 finished 0/0"},
		"selector":    {wire.UpgradeRequest{All: true, Selector: map[string]string{"app": "b"}}, "", "b-0 | b-1 | b-2 | finished 3/3"},
		"failure":     {wire.UpgradeRequest{All: true}, "b-0", "skip e-0 a-0 | b-0! | stopped 1/4"},
		"none at all": {wire.UpgradeRequest{}, "", "error: name the instances"},
		"unknown":     {wire.UpgradeRequest{Instances: []string{"x"}}, "", "error: there is no instance x"},
		"engine":      {wire.UpgradeRequest{Instances: []string{"e-0"}}, "", "error: e-0: its engine is envoy"},
		"bad number":  {wire.UpgradeRequest{All: true, MaxUnavailable: "many"}, "", `error: maxUnavailable "many"`},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if c.req.Executable, err = os.Executable(); err != nil {
				t.Fatal(err)
			}
			p, err := plan(c.req, instances(), labelled)
			if err != nil {
				if !strings.HasPrefix("error: "+err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if got := inOneLine(t.Context(), p, c.bad); got != c.want {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
	if _, err := plan(wire.UpgradeRequest{All: true, Executable: "/does/not/exist"}, nil, nil); err == nil {
		t.Error("an executable that is not there was taken")
	}
}

// inOneLine runs a rollout and writes its steps as a line.
func inOneLine(ctx context.Context, p *rollout, bad string) string {
	var b strings.Builder
	var mu sync.Mutex
	first := true
	p.say = func(e wire.UpgradeEvent) {
		mu.Lock()
		defer mu.Unlock()
		switch e.State {
		case "skipped":
			fmt.Fprintf(&b, "skip %s ", e.Instance)
		case "started":
			if !first {
				b.WriteString("+")
			}
			first = false
			b.WriteString(e.Instance)
		case "failed":
			b.WriteString("!")
			fallthrough
		case "done":
			if !first {
				b.WriteString(" | ")
			}
			first = true
		default:
			fmt.Fprintf(&b, "%s %d/%d", e.State, e.Done, e.Total)
		}
	}
	p.replace = func(_ context.Context, i wire.Instance) (was, is wire.HandoverStatus, err error) {
		if i.Name == bad {
			err = errors.New("no")
		}
		return was, is, err
	}
	p.run(ctx)
	return b.String()
}

// TestRolloutIsToldToStop: during the pause.
func TestRolloutIsToldToStop(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan(wire.UpgradeRequest{All: true, Executable: exe, Pause: time.Hour}, instances(), labelled)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.replace = func(context.Context, wire.Instance) (was, is wire.HandoverStatus, err error) {
		cancel()
		return was, is, nil
	}
	var last wire.UpgradeEvent
	p.say = func(e wire.UpgradeEvent) { last = e }
	if p.run(ctx) || last.State != "stopped" || last.Done != 1 {
		t.Errorf("%+v", last)
	}
}
