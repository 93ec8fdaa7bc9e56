package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// translateFlags are those of `weft translate`.
type translateFlags struct {
	fileFlags
	who              []string
	node, metadata   string
	types, name, out string
	ask              []string
}

func translateCommand() *cobra.Command {
	var t translateFlags
	c := &cobra.Command{
		Use:   "translate -f FILE|DIR|-",
		Short: "Show the xDS that configuration becomes, without running it",
		Long: `Translate reads YAML as the control plane would and shows what proxies get for it: listeners,
routes, clusters, endpoints. Nothing runs and nothing is asked over a network. Workloads are
those of the Processes, ready, at made-up addresses, and one gateway for each selector of
Gateways that no Process has. Private keys are never shown.

What is wrong with the configuration goes to standard error; the exit code is 4 when an object
had to be refused, and the rest is shown all the same.`,
		Example: `  weft translate -f examples/bookstore --for reviews-v1.default -o text
  weft translate -f examples/bookstore --for istio-ingressgateway.istio-system --type routes
  weft translate -f . --for web.default --type clusters --name '*reviews*' -o json
  weft translate -f . --node-id sidecar~10.0.0.1~web-0.shop~shop.svc.cluster.local --node-metadata '{"LABELS":{"app":"web"}}'
  weft translate -f . --for web.default --config-mode on-demand --ask reviews:9080`,
		Args: cli.FilesByFlag,
		RunE: func(c *cobra.Command, _ []string) error { return t.run(c) },
	}
	t.add(c, "what to translate")
	f := c.Flags()
	f.StringArrayVar(&t.who, "for", nil, "workload.namespace (may be repeated; default: all)")
	f.StringVar(&t.node, "node-id", "", "for a proxy that the files do not know: Istio's node id, type~ip~name.namespace~domain")
	f.StringVar(&t.metadata, "node-metadata", "", "its node metadata: JSON, or a file of JSON or YAML; NAME and NAMESPACE stand in for --node-id")
	f.StringVar(&t.types, "type", xdstext.AllTypes, "one of "+strings.Join(xdstext.TypeNames(), ", ")+"; several with commas")
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(xdstext.TypeNames(), cobra.ShellCompDirectiveNoFileComp))
	f.StringVar(&t.name, "name", "", "only resources whose names match; * stands for any text")
	f.StringArrayVar(&t.ask, "ask", nil, "on demand: what the proxy asks for, an authority (reviews:9080) or a cluster's name (may be repeated)")
	f.StringVarP(&t.out, "output", "o", "yaml", "output: yaml, json or text (tables)")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json", "text"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (t *translateFlags) run(c *cobra.Command) error {
	write := map[string]func(io.Writer, []xdstext.Group) error{"yaml": xdstext.YAML, "json": xdstext.JSON, "text": xdstext.Tables}[t.out]
	if write == nil {
		return usage(fmt.Errorf("-o %s: want yaml, json or text", t.out))
	}
	types, err := xdstext.TypesByName(t.types)
	if err != nil {
		return usage(fmt.Errorf("--type: %w", err))
	}
	if _, err := path.Match(t.name, ""); err != nil {
		return usage(fmt.Errorf("--name %q: %w", t.name, err))
	}
	m, err := t.load(c)
	if err != nil {
		return err
	}
	proxies, err := t.proxies(c, m)
	if err != nil {
		// What is wrong with the files may be why the proxy is not there.
		_ = tell(c.ErrOrStderr(), m.Snapshot.Findings)
		return err
	}
	findings := m.Snapshot.Findings
	var groups []xdstext.Group
	m.Each(proxies, func(p offline.Proxy, r *translate.Resources, f []model.Finding) {
		findings = append(findings[:len(findings):len(findings)], f...)
		groups = append(groups, xdstext.Group{Proxy: p.Name(), Note: note(&p), Resources: r, Types: types, Keep: t.keep()})
	})
	refused := tell(c.ErrOrStderr(), findings)
	if err := write(c.OutOrStdout(), groups); err != nil {
		return err
	}
	if !xdstext.Any(groups) {
		fmt.Fprintln(c.ErrOrStderr(), "no resources: none that --type and --name are for")
	}
	return refused
}

// note says what a proxy is: "sidecar, engine go".
func note(p *offline.Proxy) string {
	kind := "sidecar"
	if p.Gateway() {
		kind = "gateway"
	}
	s := kind + ", engine " + p.Engine()
	if p.OnDemand {
		s += ", on demand"
	}
	return s
}

// keep tells of which names resources are shown. Names hold slashes, which patterns
// must not care about.
func (t *translateFlags) keep() func(string) bool {
	if t.name == "" {
		return nil
	}
	plain := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	return func(name string) bool {
		ok, _ := path.Match(plain(t.name), plain(name)) // checked in run
		return ok
	}
}

// proxies are those that are asked for.
func (t *translateFlags) proxies(c *cobra.Command, m *offline.Mesh) ([]offline.Proxy, error) {
	var out []offline.Proxy
	switch {
	case t.node != "" || t.metadata != "":
		p, err := t.stranger(m)
		if err != nil {
			return nil, err
		}
		out = []offline.Proxy{p}
	case len(t.who) == 0:
		if out = m.Proxies; len(out) == 0 {
			_, err := m.Find("")
			return nil, err
		}
	}
	for _, name := range t.who {
		found, err := find(c, m, name)
		if err != nil {
			return nil, fmt.Errorf("--for: %w", err)
		}
		out = append(out, found...)
	}
	for i := range out {
		out[i].Asked = asked(t.ask)
	}
	return out, nil
}

// asked sorts names by what they are asked for as.
func asked(names []string) translate.Asked {
	out := translate.Asked{wire.TypeVirtualHost: {}, wire.TypeCluster: {}}
	for _, n := range names {
		if strings.Contains(n, "|") {
			out[wire.TypeCluster][n] = true
		} else {
			out[wire.TypeVirtualHost][wire.OnDemandRoute+"/"+strings.TrimPrefix(n, wire.OnDemandRoute+"/")] = true
		}
	}
	return out
}

// stranger is the proxy that --node-id and --node-metadata describe.
func (t *translateFlags) stranger(m *offline.Mesh) (p offline.Proxy, err error) {
	if len(t.who) > 0 {
		return p, usage(errors.New("--for is for proxies of the files, --node-id and --node-metadata for others: use one"))
	}
	meta, err := readMetadata(t.metadata)
	if err != nil {
		return p, usage(fmt.Errorf("--node-metadata: %w", err))
	}
	id := wire.NodeID{Type: wire.Sidecar, IP: strings.Split(meta.InstanceIPs, ",")[0], Name: meta.Name, Namespace: meta.Namespace}
	if t.node != "" {
		if id, err = wire.ParseNodeID(t.node); err != nil {
			return p, usage(fmt.Errorf("--node-id: %w", err))
		}
	}
	if id.Name == "" || id.Namespace == "" {
		return p, usage(errors.New("--node-metadata has no NAME or no NAMESPACE: add them, or give --node-id"))
	}
	if meta.Engine == "" {
		meta.Engine = t.Engine
	}
	return m.FromNode(id, meta), nil
}

// readMetadata reads node metadata: JSON, or a file's JSON or YAML.
func readMetadata(s string) (meta wire.NodeMetadata, err error) {
	if s == "" {
		return meta, nil
	}
	raw := []byte(s)
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		if raw, err = os.ReadFile(s); err != nil {
			return meta, err
		}
	}
	if raw, err = yaml.YAMLToJSON(raw); err != nil {
		return meta, err
	}
	if !json.Valid(raw) || raw[0] != '{' {
		return meta, errors.New("want an object, like {\"NAME\": \"web-0\"}")
	}
	all := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, all); err != nil {
		return meta, err
	}
	return wire.ParseNodeMetadata(all)
}
