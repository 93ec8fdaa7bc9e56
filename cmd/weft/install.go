package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/source/apiserver"
	"github.com/weftmesh/weft/control/source/file"
	precheck "github.com/weftmesh/weft/kube/check"
	"github.com/weftmesh/weft/kube/install"
	"github.com/weftmesh/weft/kube/objects"
)

// clusterFlags say which cluster is meant, and where in it the control plane is.
type clusterFlags struct {
	kubeconfig, context, namespace string
}

func (f *clusterFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "file that says how the cluster is reached (default: KUBECONFIG, ~/.kube/config)")
	c.Flags().StringVar(&f.context, "context", "", "context of the kubeconfig")
	c.Flags().StringVarP(&f.namespace, "namespace", "n", install.DefaultNamespace, "namespace of the control plane")
	_ = c.MarkFlagFilename("kubeconfig")
}

func (f *clusterFlags) client() (*objects.Client, error) {
	q := url.Values{}
	if f.kubeconfig != "" {
		q.Set("kubeconfig", f.kubeconfig)
	}
	if f.context != "" {
		q.Set("context", f.context)
	}
	address := apiserver.Scheme
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	config, err := apiserver.Config(address)
	if err != nil {
		return nil, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("no cluster: %w", err)}
	}
	config.WarningHandler = nil
	return objects.New(config)
}

// installFlags are those of `weft install`.
type installFlags struct {
	clusterFlags
	image, proxyImage string
	replicas          int
	set               []string
	out               string
	dry, yes, force   bool
	crds, check       bool
	timeout           time.Duration
}

func installCommand() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the mesh's control plane in a Kubernetes cluster",
		Long: `Install puts the control plane, its permissions, its webhooks and the definitions of all kinds that
Weft reads into a cluster. It shows what it will change, asks, and waits until all of it works.
Again, it changes only what is different: so it is changed and upgraded, too. Definitions of
Istio's or the Gateway API's that the cluster has stay as they are.

The images have to be where the nodes find them (see weft image).

-o yaml prints the objects instead, -o chart=DIR writes the same as a Helm chart.`,
		Example: `  weft install
  weft install --dry-run --replicas 3 --set configMode=on-demand
  weft install -o yaml | kubectl apply --server-side -f -
  weft install -o chart=weft && helm install weft ./weft -n weft-system --create-namespace`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.add(c)
	fl := c.Flags()
	fl.StringVar(&f.image, "image", "", "image of weft (default: "+defaultRepository+"/weft:VERSION)")
	fl.StringVar(&f.proxyImage, "proxy-image", "", "image of weft-proxy (default: "+defaultRepository+"/weft-proxy:VERSION)")
	fl.IntVar(&f.replicas, "replicas", 2, "how many control planes run")
	fl.StringArrayVar(&f.set, "set", nil, "NAME=VALUE of the chart's values, the value in YAML (may be repeated)")
	fl.BoolVar(&f.crds, "crds", true, "define the kinds that the cluster does not have, too")
	fl.StringVarP(&f.out, "output", "o", "", "yaml: print the objects; chart=DIR: write a Helm chart")
	fl.BoolVar(&f.dry, "dry-run", false, "show what would change, and change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	fl.BoolVar(&f.force, "force", false, "take over fields that others have set otherwise")
	fl.BoolVar(&f.check, "check", true, "check the cluster before")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait")
	return c
}

// options are what the flags say.
func (f *installFlags) options() (install.Options, error) {
	tag := imageTag()
	values := install.Values{
		"image": defaultRepository + "/weft:" + tag, "proxyImage": defaultRepository + "/weft-proxy:" + tag, "replicas": int64(f.replicas),
	}
	if f.image != "" {
		values["image"] = f.image
	}
	if f.proxyImage != "" {
		values["proxyImage"] = f.proxyImage
	}
	for _, s := range f.set {
		name, text, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return install.Options{}, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--set %q: want NAME=VALUE", s)}
		}
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			return install.Options{}, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--set %q: %w", s, err)}
		}
		values[name] = v
	}
	return install.Options{Namespace: f.namespace, Values: values}, nil
}

func (f *installFlags) run(c *cobra.Command) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	list, err := install.Objects(o)
	if err != nil {
		return &cli.Error{Code: cli.CodeUsage, Err: err}
	}
	definitions, err := install.Definitions(file.NewDecoder())
	if err != nil {
		return err
	}
	if f.crds {
		list = append(definitions, list...)
	}
	switch dir, chart := strings.CutPrefix(f.out, "chart="); {
	case chart && dir != "":
		return install.WriteChart(dir, o, definitions)
	case f.out == "yaml":
		text, err := install.YAML(list)
		if err == nil {
			_, err = c.OutOrStdout().Write(text)
		}
		return err
	case f.out != "":
		return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--output %q: want yaml or chart=DIR", f.out)}
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	if f.check {
		results := precheck.Before(ctx, precheck.Options{Client: client, Install: o, Definitions: definitions})
		if err := show(c.ErrOrStderr(), results, false); err != nil {
			return err
		}
	}
	return f.apply(ctx, c, &install.Installer{Client: client, Force: f.force}, list)
}

// apply shows, asks, changes and waits.
func (f *installFlags) apply(ctx context.Context, c *cobra.Command, i *install.Installer, list []*unstructured.Unstructured) error {
	plan, err := i.Plan(ctx, list)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	install.Show(out, plan, false)
	if f.dry {
		return nil
	}
	changes := slices.ContainsFunc(plan, func(p install.Change) bool { return p.Action == install.Create || p.Action == install.Update })
	if changes {
		if err := confirm(c, f.yes, "Do it?"); err != nil {
			return err
		}
		if err := i.Apply(ctx, plan, out); err != nil {
			return err
		}
	}
	if err := i.Wait(ctx, list, out); err != nil {
		return fmt.Errorf("%w (weft check says more)", err)
	}
	fmt.Fprintln(out, "Weft is installed.")
	return nil
}

// confirm asks a question that yes answers.
func confirm(c *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(c.InOrStdin(), &answer); err != nil && !errors.Is(err, io.EOF) && answer == "" {
		answer = ""
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errors.New("nothing was changed: answer y, or give --yes")
	}
	return nil
}

// versionTag makes a version the tag of an image, which may have fewer characters.
func versionTag(version string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, version)
}
