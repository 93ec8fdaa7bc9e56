package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/explain"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
)

// explainFlags are those of `weft explain`.
type explainFlags struct {
	fileFlags
	live      *cli.Live
	from      string
	gateway   string
	headers   []string
	tls       bool
	namespace string
	out       string
}

func explainCommand(env *cli.Env) *cobra.Command {
	var e explainFlags
	c := &cobra.Command{
		Use:   "explain request METHOD HOST:PORT/PATH | KIND/NAME",
		Short: "Say which objects decide a request, or where an object has effect",
		Long: `Explain request names each object that has a say in a request, in order, why routes before the
one that is chosen do not match, and what comes out: where the request goes, with which timeouts
and retries, by mutual TLS or not, or which policy denies it. Routes and policies are judged by
the data plane's own code. Nothing is sent. METHOD TCP is a connection that is no HTTP.

Explain KIND/NAME says for which proxies, hosts and ports an object has effect, and why it has
none for others.

With -f both are told of files; otherwise of the running mesh.`,
		Example: `  weft explain request GET reviews:9080/reviews/1 --from web.default
  weft explain request GET reviews:9080/ --from web.default --header end-user=ada -f examples/bookstore
  weft explain request GET http://127.0.0.1:8080/ --gateway istio-ingressgateway
  weft explain virtualservice/reviews -n default`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(c *cobra.Command, args []string) error { return e.run(c, args) },
	}
	e.add(c, "explain files instead of the running mesh")
	e.live = env.LiveFlags(c)
	f := c.Flags()
	f.StringVar(&e.from, "from", "", "whose request it is: workload.namespace")
	f.StringVar(&e.gateway, "gateway", "", "the request comes from outside to this gateway")
	f.StringArrayVarP(&e.headers, "header", "H", nil, "header of the request: name=value or name: value (may be repeated)")
	f.BoolVar(&e.tls, "tls", false, "the client speaks TLS itself")
	f.StringVarP(&e.namespace, "namespace", "n", "default", "namespace of the object")
	f.StringVarP(&e.out, "output", "o", "text", "output: "+strings.Join(outputs, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// explained is what both kinds of answers can do.
type explained interface{ Write(w io.Writer) }

func (e *explainFlags) run(c *cobra.Command, args []string) error {
	if !slices.Contains(outputs, e.out) {
		return usage(fmt.Errorf("-o %s: want %s", e.out, strings.Join(outputs, ", ")))
	}
	if args[0] == "request" && len(args) != 3 {
		return usage(errors.New("want `weft explain request METHOD HOST:PORT/PATH`"))
	}
	if args[0] != "request" && len(args) != 1 {
		return usage(errors.New("want `weft explain KIND/NAME`, or `weft explain request METHOD HOST:PORT/PATH`"))
	}
	m, err := e.mesh(c)
	if err != nil {
		return err
	}
	var a explained
	if args[0] == "request" {
		a, err = e.request(c, m, args[1], args[2])
	} else {
		a, err = e.object(c, m, args[0])
	}
	if err != nil {
		return err
	}
	if e.out != "text" {
		return encode(c, e.out, a)
	}
	a.Write(c.OutOrStdout())
	return nil
}

// mesh is that of the files, or the one that runs.
func (e *explainFlags) mesh(c *cobra.Command) (*offline.Mesh, error) {
	if len(e.Paths) > 0 {
		if e.live.Chosen() {
			return nil, usage(errors.New("-f is for files, --mesh and --console for what runs: use one"))
		}
		m, err := e.load(c)
		if err == nil {
			// What is refused has no say: that is told, and the rest explained.
			_ = tell(c.ErrOrStderr(), slices.DeleteFunc(slices.Clone(m.Snapshot.Findings), func(f model.Finding) bool { return f.Severity < model.Error }))
		}
		return m, err
	}
	st, err := e.live.State(c.Context())
	if err != nil {
		return nil, err
	}
	return meshOf(st), nil
}

func (e *explainFlags) request(c *cobra.Command, m *offline.Mesh, method, to string) (explained, error) {
	name := e.from
	switch {
	case e.from != "" && e.gateway != "", e.from == "" && e.gateway == "":
		return nil, usage(errors.New("say where the request is from: --from WORKLOAD, or --gateway NAME for one from outside"))
	case e.gateway != "":
		name = "gateway/" + strings.TrimPrefix(e.gateway, "gateway/")
	case !strings.ContainsAny(name, "/."):
		name = e.namespace + "/" + name
	}
	found, err := m.Find(name)
	if err == nil && strings.Contains(e.from, "/") {
		found, err = find(c, m, name)
	}
	if err != nil {
		return nil, err
	}
	q := explain.Query{Method: method, Target: to, From: found[0], TLS: e.tls}
	for _, h := range e.headers {
		i := strings.IndexAny(h, "=:")
		if i > 0 && strings.HasPrefix(h, ":") {
			i = 1 + strings.IndexAny(h[1:], "=:")
		}
		if i <= 0 {
			return nil, usage(fmt.Errorf("--header %q: want name=value", h))
		}
		q.Headers = append(q.Headers, [2]string{h[:i], strings.TrimSpace(h[i+1:])})
	}
	a, err := explain.Request(c.Context(), m, q)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (e *explainFlags) object(c *cobra.Command, m *offline.Mesh, name string) (explained, error) {
	k, err := parseKey(name)
	if err != nil {
		return nil, usage(err)
	}
	if strings.Count(name, "/") == 1 && k.Namespace != "" {
		k.Namespace = e.namespace
	}
	a, err := explain.Object(c.Context(), m, k)
	if err != nil {
		return nil, err
	}
	return a, nil
}
