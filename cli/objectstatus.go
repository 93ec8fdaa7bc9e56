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
		return fail(CodeNotHealthy, "not every object is accepted, resolved and programmed")
	}
	return nil
}

func (e *Env) statuses(ctx context.Context, q url.Values) (list []console.ObjectSummary, err error) {
	s, err := e.console()
	if err != nil {
		return nil, err
	}
	err = s.get(ctx, "/v1/objects", q, &list)
	return list, err
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
