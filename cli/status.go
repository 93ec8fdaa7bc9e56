package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// Status is what `weft status` prints as JSON.
type Status struct {
	Mesh      wire.MeshInfo        `json:"mesh"`
	Services  []console.ServiceRow `json:"services"`
	Proxies   []fleet.ProxyStatus  `json:"proxies"`
	Instances []wire.Instance      `json:"instances"`
	// Registries are those that services are taken from.
	Registries []model.RegistryStatus `json:"registries,omitempty"`
	Findings   []model.Finding        `json:"findings"`
	Healthy    bool                   `json:"healthy"`
}

func (e *Env) statusCommand() *cobra.Command {
	var wait time.Duration
	var namespace string
	var all bool
	c := &cobra.Command{
		Use:   "status [KIND [NAME]]",
		Short: "Show services, proxies and findings of the running mesh, or the status of objects",
		Long: `Status shows the services, what each proxy holds (connected, in sync, or what it rejected
and why), what runs, and what is wrong with objects. Of a kind ("all" for every one), or one
object, it shows the conditions: Accepted (the newest version is in force), ResolvedRefs (what
it refers to is there), Conflicted (with which object), and Programmed, on how many of the
proxies in whose scope it is, and which others have not taken it and why; of a Process also
Ready: how many of its instances are, and what is the matter with the others.

It exits with ` + fmt.Sprint(CodeNotHealthy) + ` when something is not ready, not in sync, or in error; of objects, when a condition
is not as it should be.`,
		Example:           "  weft status\n  weft status virtualservice reviews\n  weft status all -A -o json",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: e.completeObjects,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return e.objectStatus(c, args, namespace, all, wait)
			}
			st, err := e.status(c.Context())
			for deadline := time.Now().Add(wait); err == nil && !st.Healthy && time.Now().Before(deadline); {
				if err := pause(c.Context(), 100*time.Millisecond); err != nil {
					return err
				}
				st, err = e.status(c.Context())
			}
			if err != nil {
				return err
			}
			if e.output == "" || e.output == "table" {
				e.showStatus(c, st)
			} else if err := e.print(c, st, nil); err != nil {
				return err
			}
			if !st.Healthy {
				return fail(CodeNotHealthy, "not everything is ready and in sync")
			}
			return nil
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of objects")
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "objects of all namespaces")
	c.Flags().DurationVar(&wait, "wait", 0, "wait up to this long for everything to be ready and in sync")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Env) status(ctx context.Context) (Status, error) {
	var st Status
	sup, err := e.supervisor()
	if err != nil {
		return st, err
	}
	con, err := e.console()
	if err != nil {
		return st, err
	}
	if err := sup.get(ctx, "/v1/mesh", nil, &st.Mesh); err != nil {
		return st, err
	}
	if err := sup.get(ctx, "/v1/instances", nil, &st.Instances); err != nil {
		return st, err
	}
	st.Healthy = st.Mesh.Applied
	for path, v := range map[string]any{"/v1/services": &st.Services, "/v1/proxies": &st.Proxies, "/v1/findings": &st.Findings, "/v1/registries": &st.Registries} {
		if err := con.get(ctx, path, nil, v); err != nil {
			// The control plane may be restarting: the rest is still worth showing.
			st.Healthy = false
			st.Findings = append(st.Findings, model.Finding{Severity: model.Error, Message: "control plane: " + err.Error()})
		}
	}
	for _, s := range st.Services {
		st.Healthy = st.Healthy && s.Ready >= s.Replicas
	}
	for _, p := range st.Proxies {
		st.Healthy = st.Healthy && p.Connected && p.Synced
	}
	for _, i := range st.Instances {
		st.Healthy = st.Healthy && i.State == "ready"
	}
	for _, f := range st.Findings {
		st.Healthy = st.Healthy && f.Severity < model.Error
	}
	return st, nil
}

func (e *Env) showStatus(c *cobra.Command, st Status) {
	out := c.OutOrStdout()
	colour := Colour(out)
	fmt.Fprintf(out, "mesh %s from %s, up %s, capture %s\n\n", Strong.Paint(st.Mesh.Name, colour), st.Mesh.Folder,
		time.Since(st.Mesh.Started).Round(time.Second), captured(&st.Mesh))
	ServiceTable(st.Services).Write(out, colour)
	fmt.Fprintln(out)
	proxyTable(st.Proxies).Write(out, colour)
	fmt.Fprintln(out)
	if len(st.Registries) > 0 {
		registryTable(st.Registries).Write(out, colour)
		fmt.Fprintln(out)
	}
	instanceTable(st.Instances).Write(out, colour)
	for _, u := range st.Mesh.URLs {
		fmt.Fprintf(out, "\n%s  %s", Strong.Paint(u.URL, colour), u.For)
		if u.Note != "" {
			fmt.Fprintf(out, " (%s)", u.Note)
		}
	}
	if len(st.Mesh.URLs) > 0 {
		fmt.Fprintln(out)
	}
	for _, f := range st.Findings {
		fmt.Fprintln(out, "\n"+SeverityStyle(f.Severity).Paint(f.Severity.String(), colour)+": "+f.String())
	}
}

// captured says what enters the sidecars, and how.
func captured(m *wire.MeshInfo) string {
	if m.CaptureRange != wire.CaptureVIP {
		return m.Capture
	}
	return m.Capture + " of services only, at " + strings.Join(m.VIPs, ", ") + " (--capture-range vip)"
}

// SeverityStyle is how a severity is shown.
func SeverityStyle(s model.Severity) Style {
	return [...]Style{Faint, Warn, Bad}[s]
}

// ServiceTable is the table that `weft up` and `weft status` show.
func ServiceTable(rows []console.ServiceRow) *Table {
	t := &Table{Head: []string{"SERVICE", "NAMESPACE", "VERSIONS", "REPLICAS", "PROTOCOL", "MTLS", "ADDRESS"}, Empty: "no services"}
	for _, r := range rows {
		style := Good
		if r.Ready < r.Replicas || r.Replicas == 0 {
			style = Warn
		}
		t.Row(r.Service, r.Namespace, strings.Join(r.Versions, ","), Cell{fmt.Sprintf("%d/%d", r.Ready, r.Replicas), style},
			strings.Join(r.Protocols, ","), r.MTLS, r.Address)
	}
	return t
}

func proxyTable(list []fleet.ProxyStatus) *Table {
	t := &Table{Head: []string{"PROXY", "TYPE", "ENGINE", "ADDRESS", "STATUS", "LDS", "RDS", "CDS", "EDS"}, Empty: "no proxies"}
	for _, p := range list {
		status := Cell{"synced", Good}
		switch {
		case !p.Connected:
			status = Cell{"not connected", Bad}
		case !p.Synced:
			status = Cell{"syncing", Warn}
		}
		var errs []string
		for _, ts := range p.Types {
			if ts.Error != "" {
				errs = append(errs, ts.Error+madeOf(ts.Causes))
			}
		}
		if len(errs) > 0 {
			slices.Sort(errs)
			status = Cell{"rejected: " + strings.Join(errs, "; "), Bad}
		}
		t.Row(p.Name+"."+p.Namespace, p.Type, p.Engine, p.Address, status,
			typeCell(p, wire.TypeListener), typeCell(p, wire.TypeRoute), typeCell(p, wire.TypeCluster), typeCell(p, wire.TypeEndpoint))
	}
	return t
}

func registryTable(list []model.RegistryStatus) *Table {
	t := &Table{Head: []string{"REGISTRY", "NAMESPACE", "TYPE", "STATE", "LAST SUCCESS", "SERVICES", "INSTANCES", "RETAINED"}, Empty: "no registries"}
	for _, r := range list {
		state := Cell{r.State, Warn}
		if r.State == "synced" {
			state.Style = Good
		}
		last := "never"
		if !r.LastSuccess.IsZero() {
			last = time.Since(r.LastSuccess).Round(time.Second).String() + " ago"
		}
		t.Row(r.Registry.Name, r.Registry.Namespace, r.Type, state, last, strconv.Itoa(r.Services), strconv.Itoa(r.Instances), strconv.Itoa(r.Retained))
	}
	return t
}

// fewCauses is how many objects a line names.
const fewCauses = 4

// madeOf names the objects that a refused resource was made of.
func madeOf(causes []model.Key) string {
	if len(causes) == 0 {
		return ""
	}
	var names []string
	for _, k := range causes[:min(len(causes), fewCauses)] {
		names = append(names, k.Title())
	}
	if n := len(causes) - fewCauses; n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	return " (made of " + strings.Join(names, ", ") + ")"
}

func typeCell(p fleet.ProxyStatus, url string) Cell {
	ts, ok := p.Types[url]
	switch {
	case !ok:
		return Cell{"-", Faint}
	case ts.Error != "":
		return Cell{"rejected", Bad}
	case ts.Acked+ts.Rejected < ts.Sent:
		return Cell{"sent", Warn}
	}
	return Cell{"ok", Good}
}

func instanceTable(list []wire.Instance) *Table {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b wire.Instance) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	t := &Table{Head: []string{"INSTANCE", "KIND", "STATE", "RESTARTS", "PID", "PROXY", "MESSAGE"}, Empty: "nothing runs"}
	for _, i := range list {
		style := Good
		if i.State != "ready" {
			style = Warn
		}
		if i.State == "failed" {
			style = Bad
		}
		name := i.Name
		if i.Namespace != "" {
			name += "." + i.Namespace
		}
		pid := ""
		if i.PID > 0 {
			pid = fmt.Sprint(i.PID)
		}
		t.Row(name, i.Kind, Cell{i.State, style}, i.Restarts, pid, proxyCell(i.Proxy), i.Message)
	}
	return t
}
