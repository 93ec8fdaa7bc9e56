package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/wire"
)

// configTypes is what --type may say.
var configTypes = []string{"listener", "route", "virtualhost", "cluster", "endpoint", "secret", "host", "workload"}

func (e *Env) configCommand() *cobra.Command {
	var made bool
	var typ, name string
	c := &cobra.Command{
		Use:   "config PROXY",
		Short: "Show the configuration that a proxy holds",
		Long: `Config asks a proxy what it holds: listeners, routes, clusters, endpoints, as a table of names,
or whole with -o json. PROXY is an instance, or a workload: of several replicas that is the first. With --made it asks the control plane what it made for the proxy instead.`,
		Example: "  weft config reviews-v1-0\n  weft config web-0 --type route --name 9080 -o json",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return e.instanceNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			typ = strings.TrimSuffix(strings.ToLower(typ), "s")
			if typ != "" && !slices.Contains(configTypes, typ) {
				return fail(CodeUsage, "--type %s: want one of %s", typ, strings.Join(configTypes, ", "))
			}
			inst, err := e.instance(c, args[0])
			if err != nil {
				return err
			}
			var list []console.ConfigResource
			if made {
				s, err := e.console()
				if err != nil {
					return err
				}
				q := url.Values{"proxy": {inst.Name + "." + inst.Namespace}}
				if err := s.get(c.Context(), "/v1/config", q, &list); err != nil {
					return err
				}
			} else if list, err = held(c.Context(), inst); err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(r console.ConfigResource) bool {
				return typ != "" && !strings.Contains(strings.ToLower(r.Type), typ) || name != "" && r.Name != name
			})
			return e.print(c, list, func() *Table {
				t := &Table{Head: []string{"TYPE", "NAME", "VERSION"}, Empty: "no resources: the proxy holds none that --type and --name are for"}
				for _, r := range list {
					t.Row(r.Type, r.Name, r.Version)
				}
				return t
			})
		},
	}
	c.Flags().BoolVar(&made, "made", false, "what the control plane made for it")
	c.Flags().StringVar(&typ, "type", "", "only this type: "+strings.Join(configTypes, ", "))
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(configTypes, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&name, "name", "", "only the resource of that name")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

func (e *Env) instances(ctx context.Context) ([]wire.Instance, error) {
	s, err := e.supervisor()
	if err != nil {
		return nil, err
	}
	var list []wire.Instance
	return list, s.get(ctx, "/v1/instances", nil, &list)
}

func (e *Env) instanceNames(ctx context.Context) []string {
	list, err := e.instances(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range list {
		if i.AdminSocket != "" {
			out = append(out, i.Name)
		}
	}
	return out
}

// instance finds an instance with a proxy by "name", "name.namespace", or as files have
// it: "namespace/name", "gateway/name"; or the first one of the workload of that name.
func (e *Env) instance(c *cobra.Command, name string) (wire.Instance, error) {
	list, err := e.instances(c.Context())
	if err != nil {
		return wire.Instance{}, err
	}
	list = slices.DeleteFunc(list, func(i wire.Instance) bool { return i.AdminSocket == "" })
	found, err := one(list, name)
	if err == nil && !called(found.Name, found.Namespace, name) {
		if n := replicasOf(list, &found); n > 1 {
			fmt.Fprintf(c.ErrOrStderr(), "note: %s has %d replicas: this is %s\n", name, n, found.Name)
		}
	}
	return found, err
}

// one is the instance of that name, or the first of the workload.
func one(list []wire.Instance, name string) (wire.Instance, error) {
	var found, replicas []wire.Instance
	var names []string
	for _, i := range list {
		names = append(names, i.Name+"."+i.Namespace)
		switch {
		case called(i.Name, i.Namespace, name):
			found = append(found, i)
		case i.App != "" && called(i.App, i.Namespace, name):
			replicas = append(replicas, i)
		}
	}
	if len(found) == 0 {
		found = firsts(replicas)
	}
	slices.Sort(names)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return wire.Instance{}, fail(CodeFailed, "no proxy %q: there are %s", name, strings.Join(names, ", "))
	}
	return wire.Instance{}, fail(CodeUsage, "%q is in several namespaces: write %s.%s", name, name, found[0].Namespace)
}

// firsts are the first replicas in each namespace: 2 is before 10.
func firsts(replicas []wire.Instance) []wire.Instance {
	slices.SortFunc(replicas, func(a, b wire.Instance) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(replicas, func(a, b wire.Instance) bool { return a.Namespace == b.Namespace })
}

func replicasOf(list []wire.Instance, of *wire.Instance) (n int) {
	for _, i := range list {
		if i.App == of.App && i.Namespace == of.Namespace {
			n++
		}
	}
	return n
}

// called tells whether a word means an instance, or workload.
func called(own, namespace, word string) bool {
	return slices.Contains([]string{own, own + "." + namespace, namespace + "/" + own, "gateway/" + own}, word)
}

// held reads what a proxy holds from its admin API, which has Envoy's form
// (envoy.admin.v3.ConfigDump) for both engines.
func held(ctx context.Context, i wire.Instance) ([]console.ConfigResource, error) {
	var dump struct {
		Configs []map[string]json.RawMessage `json:"configs"`
	}
	if err := dialUnix(i.AdminSocket).get(ctx, "/config_dump", url.Values{"include_eds": {""}}, &dump); err != nil {
		return nil, fmt.Errorf("proxy %s.%s: %w", i.Name, i.Namespace, err)
	}
	var out []console.ConfigResource
	for _, section := range dump.Configs {
		var typ string
		_ = json.Unmarshal(section["@type"], &typ)
		typ = strings.TrimSuffix(typ[strings.LastIndexByte(typ, '.')+1:], "ConfigDump")
		for key, list := range section {
			if strings.HasPrefix(key, "static_") || strings.HasPrefix(key, "dynamic_") {
				out = append(out, entries(strings.TrimSuffix(typ, "s"), list)...)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b console.ConfigResource) int {
		return strings.Compare(a.Type+"\x00"+a.Name, b.Type+"\x00"+b.Name)
	})
	return out, nil
}

// dumpEntry is any entry of any section of a config dump.
type dumpEntry struct {
	Name           string          `json:"name"`
	VersionInfo    string          `json:"version_info"`
	Listener       json.RawMessage `json:"listener"`
	Cluster        json.RawMessage `json:"cluster"`
	RouteConfig    json.RawMessage `json:"route_config"`
	EndpointConfig json.RawMessage `json:"endpoint_config"`
	Secret         json.RawMessage `json:"secret"`
	Resource       json.RawMessage `json:"resource"`
	ActiveState    *dumpEntry      `json:"active_state"`
}

func entries(typ string, list json.RawMessage) []console.ConfigResource {
	var es []dumpEntry
	if json.Unmarshal(list, &es) != nil {
		return nil
	}
	var out []console.ConfigResource
	for _, e := range es {
		name := e.Name
		if e.ActiveState != nil {
			e = *e.ActiveState
		}
		r := console.ConfigResource{Type: typ, Name: name, Version: e.VersionInfo}
		for _, body := range []json.RawMessage{e.Listener, e.Cluster, e.RouteConfig, e.EndpointConfig, e.Secret, e.Resource} {
			if len(body) > 0 {
				r.Body = body
			}
		}
		if r.Name == "" {
			var named struct {
				Name        string `json:"name"`
				ClusterName string `json:"cluster_name"`
			}
			_ = json.Unmarshal(r.Body, &named)
			r.Name = named.Name + named.ClusterName
		}
		out = append(out, r)
	}
	return out
}
