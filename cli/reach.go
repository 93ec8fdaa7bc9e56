package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// reachBound is how long apply and delete wait for the proxies.
const reachBound = 6 * time.Second

// reach follows a change of objects to the proxies, so that what comes after
// `weft apply` in a script meets the change.
type reach struct {
	events <-chan fleet.Event
	stop   context.CancelFunc
}

// follow listens from before the change is made, so that its event is not missed.
// The change does not depend on it: a reach that hears nothing is of use too.
func (s *socket) follow(ctx context.Context) *reach {
	ctx, stop := context.WithCancel(ctx)
	events := make(chan fleet.Event)
	r := &reach{events, stop}
	body, err := s.do(ctx, http.MethodGet, "/v1/events", nil, nil)
	if err != nil {
		close(events)
		return r
	}
	go func() {
		defer close(events)
		defer body.Close()
		for dec := json.NewDecoder(body); ; {
			var e fleet.Event
			if dec.Decode(&e) != nil {
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

// await waits until the proxies have answered to all that was changed, and says
// on w how many have it. It gives up in silence when no event tells.
func (r *reach) await(ctx context.Context, results []console.Applied, w io.Writer) {
	defer r.stop()
	open := changed(results)
	if len(open) == 0 {
		return
	}
	sum := fleet.Event{}
	t := time.NewTimer(reachBound)
	defer t.Stop()
	for len(open) > 0 {
		select {
		case e, ok := <-r.events:
			if !ok {
				return
			}
			left := slices.DeleteFunc(slices.Clone(open), func(k model.Key) bool { return tells(e, k) })
			if len(left) < len(open) {
				sum.Proxies, sum.Millis = max(sum.Proxies, e.Proxies), sum.Millis+e.Millis
				sum.Late, sum.Rejected = append(sum.Late, e.Late...), append(sum.Rejected, e.Rejected...)
			}
			open = left
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
	tell(w, sum)
}

func tell(w io.Writer, e fleet.Event) {
	switch {
	case len(e.Late) > 0:
		fmt.Fprintf(w, "no answer yet from %s\n", strings.Join(e.Late, ", "))
	case e.Proxies == 0:
		fmt.Fprintln(w, "concerns no proxy")
	case e.Proxies == 1:
		fmt.Fprintf(w, "1 proxy updated in %d ms\n", e.Millis)
	default:
		fmt.Fprintf(w, "%d proxies updated in %d ms\n", e.Proxies, e.Millis)
	}
	for _, x := range e.Rejected {
		fmt.Fprintf(w, "%s rejected it: %s\n", x.Proxy, x.Error)
	}
}

// changed returns the objects that the mesh now has otherwise.
func changed(results []console.Applied) (out []model.Key) {
	for _, r := range results {
		switch r.Result {
		case "created", "configured", "deleted":
			out = append(out, r.Object)
		}
	}
	return out
}

// tells whether an event is about the object. Events name objects, but only the
// first few, and files where only a comment has changed.
func tells(e fleet.Event, k model.Key) bool {
	why := strings.Join(e.Why, "; ")
	title := k.Title()
	if k.Kind == model.KindConfigMap {
		title = string(model.KindMeshConfig)
	}
	file := strings.ToLower(string(k.Kind)) + "_" + k.Namespace + "_" + k.Name
	return strings.Contains(why, title) || strings.Contains(why, " more") || strings.Contains(why, file)
}
