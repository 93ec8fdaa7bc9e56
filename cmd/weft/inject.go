package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/kube/inject"
)

// injectFlags are those of `weft inject`.
type injectFlags struct {
	files                             []string
	settings, mesh                    string
	namespace, revision, image, agent string
}

func injectCommand() *cobra.Command {
	var f injectFlags
	c := &cobra.Command{
		Use:   "inject -f FILE",
		Short: "Put the proxy into the pods that manifests describe",
		Long: `Inject reads Kubernetes' YAML and writes it with the mesh's proxy in every pod that is described
there, as the webhook would put it in: Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs,
CronJobs and Lists of them. Everything else is written as it was read.

What was left as it is, and annotations without effect, are named on standard error.`,
		Example: `  weft inject -f app.yaml | kubectl apply -f -
  kubectl get deployment shop -o yaml | weft inject -f - | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	l := c.Flags()
	l.StringArrayVarP(&f.files, "filename", "f", nil, "a file of YAML, or - for standard input (may be repeated)")
	l.StringVar(&f.settings, "settings", "", "file of injection settings (the installation's)")
	l.StringVar(&f.mesh, "mesh-config", "", "file of the mesh configuration (MeshConfig)")
	l.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of what names none")
	l.StringVar(&f.revision, "revision", "", "revision of the control plane")
	l.StringVar(&f.image, "image", "", "image of the proxy, in place of the settings'")
	l.StringVar(&f.agent, "agent-image", "", "image of weft, for grpc-agent and grpc-simple, in place of the settings'")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
	_ = c.MarkFlagFilename("settings", "yaml", "yml")
	_ = c.MarkFlagFilename("mesh-config", "yaml", "yml")
	return c
}

func (f *injectFlags) run(c *cobra.Command) error {
	if len(f.files) == 0 {
		return usage(errors.New("inject needs -f: a file, or - for standard input"))
	}
	i, err := f.injector()
	if err != nil {
		return err
	}
	for k, name := range f.files {
		raw, err := readInput(c, name)
		if err != nil {
			return err
		}
		if k > 0 {
			fmt.Fprintln(c.OutOrStdout(), "---")
		}
		found, err := i.Documents(bytes.NewReader(raw), c.OutOrStdout(), f.namespace)
		for _, x := range found {
			fmt.Fprintf(c.ErrOrStderr(), "%s [%s] %s\n", x.Severity, x.Code, x)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func readInput(c *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	return os.ReadFile(name)
}

func (f *injectFlags) injector() (*inject.Injector, error) {
	s, mesh, err := injection(f.settings, f.mesh)
	if err != nil {
		return nil, err
	}
	if f.revision != "" {
		s.Revision = f.revision
	}
	if f.image != "" {
		s.Image, s.InitImage = f.image, f.image
	}
	if f.agent != "" {
		s.AgentImage = f.agent
	}
	return inject.New(s, mesh)
}

// injection reads files of settings and of the mesh configuration; "": the defaults.
func injection(settings, mesh string) (inject.Settings, *meshpb.MeshConfig, error) {
	s, m := inject.Defaults(), inject.DefaultMesh()
	if settings != "" {
		raw, err := os.ReadFile(settings)
		if err != nil {
			return s, nil, err
		}
		if s, err = inject.ParseSettings(raw); err != nil {
			return s, nil, fmt.Errorf("%s: %w", settings, err)
		}
	}
	if mesh != "" {
		raw, err := os.ReadFile(mesh)
		if err != nil {
			return s, nil, err
		}
		if m, err = inject.ParseMesh(raw); err != nil {
			return s, nil, fmt.Errorf("%s: %w", mesh, err)
		}
	}
	return s, m, nil
}
