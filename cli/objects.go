package cli

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
)

// kinds maps what people type to a kind: singular, plural, kubectl's short names.
var kinds = map[string]model.Kind{
	"ns": model.KindNamespace, "svc": model.KindService, "sa": model.KindServiceAccount, "cm": model.KindConfigMap,
	"vs": model.KindVirtualService, "dr": model.KindDestinationRule, "gw": model.KindGateway, "se": model.KindServiceEntry,
	"we": model.KindWorkloadEntry, "pa": model.KindPeerAuthentication, "ap": model.KindAuthorizationPolicy, "proc": model.KindProcess,
	"wg": model.KindWorkloadGroup, "ra": model.KindRequestAuthentication, "ef": model.KindEnvoyFilter, "ing": model.KindIngress, "sl": model.KindSmartLimiter, "dap": model.KindDubboAuthorizationPolicy,
}

var allKinds = []model.Kind{
	model.KindNamespace, model.KindService, model.KindServiceAccount, model.KindSecret, model.KindConfigMap,
	model.KindVirtualService, model.KindDestinationRule, model.KindGateway, model.KindServiceEntry, model.KindWorkloadEntry,
	model.KindSidecar, model.KindPeerAuthentication, model.KindRequestAuthentication, model.KindAuthorizationPolicy, model.KindTelemetry, model.KindProcess,
	model.KindEnvoyFilter, model.KindProxyConfig, model.KindWorkloadGroup, model.KindRegistry, model.KindRegistrySource, model.KindTranscoding,
	model.KindGatewayClass, model.KindAPIGateway, model.KindListenerSet, model.KindHTTPRoute, model.KindGRPCRoute, model.KindTLSRoute, model.KindTCPRoute, model.KindUDPRoute,
	model.KindReferenceGrant, model.KindBackendTLSPolicy, model.KindIngress, model.KindIngressClass, model.KindMetaRouter, model.KindSmartLimiter,
	model.KindServiceFence, model.KindSlimeBoot, model.KindEnvoyPlugin, model.KindPluginManager, model.KindWasmPlugin, model.KindTrafficExtension,
	model.KindRedisService, model.KindRedisDestination, model.KindDubboAuthorizationPolicy,
	model.KindApplicationProtocol,
}

// ParseKind understands "vs", "virtualservice", "VirtualServices", "all".
func ParseKind(s string) (model.Kind, error) {
	low := strings.ToLower(s)
	if k, ok := kinds[low]; ok {
		return k, nil
	}
	for _, k := range allKinds {
		name := strings.ToLower(string(k))
		plural := name + "s"
		switch {
		case strings.HasSuffix(name, "y"):
			plural = strings.TrimSuffix(name, "y") + "ies"
		case strings.HasSuffix(name, "s"):
			plural = name + "es"
		}
		if low == name || low == plural {
			return k, nil
		}
	}
	switch strings.TrimSuffix(low, "s") {
	case "pod", "po", "proxy", "proxie", "workload", "instance":
		return "", fail(CodeUsage, "no kind %q: `weft status` shows what runs, and its proxies", s)
	}
	if like := similar(low); like != "" {
		return "", fail(CodeUsage, "no kind %q: did you mean %s?", s, like)
	}
	return "", fail(CodeUsage, "no kind %q: one of %s", s, kindNames())
}

// similar are the kinds that a misspelt word may stand for, as cobra suggests commands.
func similar(word string) string {
	words := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, k := range allKinds {
		words.AddCommand(&cobra.Command{Use: strings.ToLower(string(k)), Run: func(*cobra.Command, []string) {}})
	}
	return strings.Join(words.SuggestionsFor(word), ", ")
}

// written leaves out what nobody has written: what runs is in `weft status`.
func written(list []console.ObjectSummary) []console.ObjectSummary {
	return slices.DeleteFunc(list, func(o console.ObjectSummary) bool { return o.Kind == model.KindWorkload })
}

func kindNames() string {
	names := make([]string, len(allKinds))
	for i, k := range allKinds {
		names[i] = strings.ToLower(string(k))
	}
	return strings.Join(names, ", ")
}

// completeObjects completes a kind, and then the names of its objects.
func (e *Env) completeObjects(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return strings.Split(kindNames(), ", "), cobra.ShellCompDirectiveNoFileComp
	}
	kind, err := ParseKind(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	q := url.Values{"kind": {string(kind)}}
	if f := c.Flag("namespace"); f != nil {
		q.Set("namespace", f.Value.String())
	}
	var list []console.ObjectSummary
	s, err := e.console()
	if err != nil || s.get(c.Context(), "/v1/objects", q, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, o := range list {
		if !slices.Contains(args[1:], o.Name) {
			names = append(names, o.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (e *Env) applyCommand() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Apply objects to the running mesh",
		Long: `Apply adds or changes objects of the running mesh, until it ends: the folder that the mesh
was started from is not touched, and what was applied wins over it. A bad object is
named and refused; the others of the same file are applied. An object that is then changed in
the folder is the folder's again. Apply ends when the proxies have what is new, and says what
is wrong with the mesh since, of other objects too.`,
		Example: "  weft apply -f split.yaml\n  cat split.yaml | weft apply -f -",
		Args:    FilesByFlag,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return fail(CodeUsage, "apply needs -f: a file, a folder, or - for standard input")
			}
			return e.apply(c, files, false)
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder, or - for standard input (may be repeated)")
	_ = c.MarkFlagFilename("filename", "yaml", "yml")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

// FilesByFlag is for commands that take files by -f only: it says so to who has left that out.
func FilesByFlag(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("files are given with -f: %s -f %s", c.CommandPath(), args[0])
	}
	return nil
}

// document is one file's content.
type document struct {
	name string
	data []byte
}

// read reads files, folders and standard input.
func read(c *cobra.Command, paths []string) ([]document, error) {
	var out []document
	for _, p := range paths {
		if p == "-" {
			data, err := io.ReadAll(c.InOrStdin())
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			out = append(out, document{"standard input", data})
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("%w (check the path)", err)
		}
		if info.IsDir() {
			p = strings.TrimSuffix(p, string(filepath.Separator)) + string(filepath.Separator) // of a link: where it leads
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if ext := filepath.Ext(path); path != p && ext != ".yaml" && ext != ".yml" {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			// The control plane has another working directory.
			abs, err := filepath.Abs(path)
			out = append(out, document{abs, data})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e *Env) apply(c *cobra.Command, paths []string, remove bool) error {
	docs, err := read(c, paths)
	if err != nil {
		return err
	}
	s, err := e.console()
	if err != nil {
		return err
	}
	reach := s.follow(c.Context())
	defer reach.stop()
	before := s.findings(c.Context())
	results := []console.Applied{}
	for _, d := range docs {
		q := url.Values{"name": {d.name}}
		if remove {
			q.Set("delete", "true")
		}
		part, err := s.post(c.Context(), "/v1/apply", q, bytes.NewReader(d.data))
		if err != nil {
			return err
		}
		results = append(results, part...)
	}
	return e.showApplied(c, results, reach, func() []model.Finding { return without(s.findings(c.Context()), before) })
}

// showApplied says what became of the objects, who has it, and what is wrong with the
// mesh since: elsewhere tells that, once the change has reached the proxies.
func (e *Env) showApplied(c *cobra.Command, results []console.Applied, reach *reach, elsewhere func() []model.Finding) error {
	bad := 0
	t := &Table{Head: []string{"OBJECT", "RESULT"}, Empty: "no objects: no documents"}
	for _, r := range results {
		st := Good
		switch r.Result {
		case "invalid", "failed":
			bad++
			st = Bad
		case "not found":
			bad++
			st = Warn
		case "unchanged":
			st = Faint
		}
		name := r.Object.String()
		if r.Object.Kind == "" {
			name = "(not an object)"
		}
		t.Row(name, Cell{r.Result, st})
	}
	if err := e.print(c, results, func() *Table { return t }); err != nil {
		return err
	}
	if e.output == "" || e.output == "table" {
		for _, r := range results {
			for _, f := range r.Findings {
				fmt.Fprintln(c.ErrOrStderr(), f.Severity.String()+": "+f.String())
			}
		}
		reach.await(c.Context(), results, c.OutOrStdout())
	} else {
		reach.await(c.Context(), results, io.Discard)
	}
	told := map[model.Finding]bool{}
	for _, r := range results {
		for _, f := range r.Findings {
			told[placeless(f)] = true
		}
	}
	for _, f := range elsewhere() {
		if !told[placeless(f)] {
			fmt.Fprintln(c.ErrOrStderr(), f.Severity.String()+": "+f.String())
		}
	}
	if bad > 0 {
		return fail(CodeInvalid, "%d of %d objects not found or refused", bad, len(results))
	}
	return nil
}

func (e *Env) deleteCommand() *cobra.Command {
	var files []string
	var namespace string
	c := &cobra.Command{
		Use:   "delete (KIND NAME… | -f FILE)",
		Short: "Remove objects from the running mesh",
		Long: `Delete removes objects from the running mesh, until it ends. An object that was read from
the folder comes back with the next weft up: the folder is not touched.`,
		Example:           "  weft delete virtualservice reviews\n  weft delete -f split.yaml",
		ValidArgsFunction: e.completeObjects,
		RunE: func(c *cobra.Command, args []string) error {
			if len(files) > 0 {
				return e.apply(c, files, true)
			}
			if len(args) < 2 {
				return fail(CodeUsage, "delete needs a kind and a name, or -f")
			}
			kind, err := ParseKind(args[0])
			if err != nil {
				return err
			}
			s, err := e.console()
			if err != nil {
				return err
			}
			reach := s.follow(c.Context())
			defer reach.stop()
			before := s.findings(c.Context())
			results := []console.Applied{}
			for _, name := range args[1:] {
				q := url.Values{"kind": {string(kind)}, "namespace": {namespace}, "name": {name}}
				part, err := s.post(c.Context(), "/v1/delete", q, nil)
				if err != nil {
					return err
				}
				results = append(results, part...)
			}
			return e.showApplied(c, results, reach, func() []model.Finding { return without(s.findings(c.Context()), before) })
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "delete the objects of a file, a folder, or - for standard input")
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

// noObjects is what is said instead of nothing.
const noObjects = "no objects found"

func (e *Env) getCommand() *cobra.Command {
	var namespace string
	var all bool
	c := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "List objects of the running mesh, or show one as it was written",
		Long: `Get lists objects, or with -o yaml shows them as they were written; those of Gateway API with
the status that they have now, as the API says it.`,
		Example: "  weft get virtualservices\n  weft get vs reviews -o yaml\n  weft get all -A",
		Args:    cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.completeObjects(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			if !strings.EqualFold(args[0], "all") {
				kind, err := ParseKind(args[0])
				if err != nil {
					return err
				}
				q.Set("kind", string(kind))
			}
			if !all {
				q.Set("namespace", namespace)
			}
			if len(args) == 2 {
				q.Set("name", args[1])
			}
			return e.get(c, q)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace")
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "objects of all namespaces")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

func (e *Env) get(c *cobra.Command, q url.Values) error {
	s, err := e.console()
	if err != nil {
		return err
	}
	asYAML := e.output == "yaml"
	if asYAML {
		q.Set("raw", "true")
	}
	q.Set("status", "true")
	var list []console.ObjectSummary
	if err := s.get(c.Context(), "/v1/objects", q, &list); err != nil {
		return err
	}
	list = written(list)
	if name := q.Get("name"); name != "" && len(list) == 0 {
		return fail(CodeFailed, "no %s %s/%s in the mesh", q.Get("kind"), q.Get("namespace"), name)
	}
	if asYAML {
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), noObjects)
		}
		sep := ""
		for _, o := range list {
			if o.Raw == "" {
				continue
			}
			fmt.Fprint(c.OutOrStdout(), sep)
			sep = "---\n"
			text := strings.TrimSpace(o.Raw)
			if status := ownStatus(o.Status); status != nil {
				if text, err = withStatus(text, status); err != nil {
					return fmt.Errorf("%s: %w", o.Key.Title(), err)
				}
			}
			fmt.Fprintln(c.OutOrStdout(), strings.TrimSpace(text))
		}
		return nil
	}
	return e.print(c, list, func() *Table {
		t := &Table{Head: []string{"KIND", "NAMESPACE", "NAME", "HOSTS", "PROXIES", "STATUS", "SOURCE"}, Empty: noObjects}
		for _, o := range list {
			status := Cell{"ok", Good}
			worst := model.Info
			for _, f := range o.Findings {
				worst = max(worst, f.Severity)
				if f.Severity >= worst && f.Severity > model.Info {
					status = Cell{f.Message, Warn}
				}
			}
			if worst == model.Error {
				status.Style = Bad
			}
			t.Row(string(o.Kind), o.Namespace, o.Name, strings.Join(slices.Compact(o.Hosts), ","), reachCell(o.Status), status, o.Source)
		}
		return t
	})
}
