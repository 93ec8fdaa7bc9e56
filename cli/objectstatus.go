package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// objectStatus shows the conditions of the objects of a kind, or of one.
func (e *Env) objectStatus(c *cobra.Command, args []string, namespace string, all bool, wait time.Duration) error {
	q := url.Values{"status": {"true"}}
	if !strings.EqualFold(args[0], "all") {
		kind, err := ParseKind(args[0])
		if err != nil {
			return err
		}
		q.Set("kind", string(kind))
	}
	if len(args) == 2 {
		q.Set("name", args[1])
	}
	if !all {
		q.Set("namespace", namespace)
	}
	list, err := e.statuses(c.Context(), q)
	for deadline := time.Now().Add(wait); err == nil && slices.ContainsFunc(list, troubled) && time.Now().Before(deadline); {
		if err := pause(c.Context(), 100*time.Millisecond); err != nil {
			return err
		}
		list, err = e.statuses(c.Context(), q)
	}
	if err != nil {
		return err
	}
	if len(args) == 2 && len(list) == 0 {
		return fail(CodeFailed, "no %s %s/%s in the mesh", q.Get("kind"), namespace, args[1])
	}
	if e.output == "" || e.output == "table" {
		for i := range list {
			writeStatus(c.OutOrStdout(), &list[i])
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), noObjects)
		}
	} else if err := e.print(c, list, nil); err != nil {
		return err
	}
	if slices.ContainsFunc(list, troubled) {
		return fail(CodeNotHealthy, "not every object is accepted, resolved, programmed and ready")
	}
	return nil
}

func (e *Env) statuses(ctx context.Context, q url.Values) (list []console.ObjectSummary, err error) {
	s, err := e.console()
	if err != nil {
		return nil, err
	}
	err = s.get(ctx, "/v1/objects", q, &list)
	if list = written(list); err != nil || !slices.ContainsFunc(list, isProcess) {
		return list, err
	}
	running, err := e.instances(ctx)
	for i := range list {
		if err == nil && isProcess(list[i]) && list[i].Status != nil {
			list[i].Status.Conditions = append(list[i].Status.Conditions, readiness(&list[i], running))
		}
	}
	return list, err
}

func isProcess(o console.ObjectSummary) bool { return o.Kind == model.KindProcess }

// readiness is the condition of a Process that only the supervisor knows: whether what it
// asks for runs.
func readiness(o *console.ObjectSummary, list []wire.Instance) console.Condition {
	ready, all := 0, 0
	var why []string
	for _, i := range list {
		if i.Kind != "process" || i.Namespace != o.Namespace || i.App != o.Name {
			continue
		}
		all++
		if i.State == "ready" {
			ready++
			continue
		}
		said := i.Name + " is " + i.State
		if i.Message != "" {
			said += " (" + i.Message + ")"
		}
		why = append(why, said)
	}
	c := console.Condition{Type: "Ready", Status: "True", Reason: "Ready", Message: fmt.Sprintf("%d of %d instances", ready, all)}
	switch {
	case all == 0:
		c.Status, c.Reason, c.Message = "Unknown", "NoInstance", "no instance of it runs here"
	case ready < all:
		c.Status, c.Reason = "False", "NotReady"
		c.Message += ": " + strings.Join(why, "; ")
	}
	return c
}

// troubled tells whether a condition of an object is not as it should be.
func troubled(o console.ObjectSummary) bool {
	return o.Status != nil && slices.ContainsFunc(o.Status.Conditions, func(c console.Condition) bool { return conditionStyle(c) == Bad })
}

// conditionStyle is how a condition is shown: "False" is bad, but for those of which
// "True" is.
func conditionStyle(c console.Condition) Style {
	switch {
	case c.Status == "Unknown":
		return Faint
	case (c.Status == "True") == (c.Type == "Conflicted"):
		return Bad
	}
	return Good
}

func writeStatus(w io.Writer, o *console.ObjectSummary) {
	colour := Colour(w)
	fmt.Fprintf(w, "%s  %s\n", Strong.Paint(o.Key.Title(), colour), Faint.Paint(o.Source, colour))
	if o.Status == nil {
		return
	}
	for _, c := range o.Status.Conditions {
		writeCondition(w, "  ", c, colour)
	}
	if g := o.Status.GatewayAPI; g != nil {
		writeGatewayAPI(w, g, colour)
	}
	writeLimits(w, o.Status.Limits)
	for _, m := range o.Status.Messages {
		fmt.Fprintf(w, "  %s %s: %s\n", strings.ToLower(m.Level), m.Type.Name, m.Text)
	}
}

func writeCondition(w io.Writer, indent string, c console.Condition, colour bool) {
	line := fmt.Sprintf("%s%-12s  %s", indent, c.Type, conditionStyle(c).Paint(fmt.Sprintf("%-7s", c.Status), colour))
	switch {
	case c.Message != "":
		line += "  " + c.Message
	case c.Reason != c.Type:
		line += "  " + c.Reason
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// reachCell is "2/3": proxies that have an object, of those in whose scope it is.
func reachCell(s *console.ObjectStatus) Cell {
	if s == nil || s.Reach == nil {
		return Cell{}
	}
	c := Cell{fmt.Sprintf("%d/%d", s.Reach.Programmed, s.Reach.Of), Good}
	switch {
	case s.Reach.Of == 0:
		c.Style = Faint
	case s.Reach.Programmed < s.Reach.Of:
		c.Style = Warn
	}
	return c
}
