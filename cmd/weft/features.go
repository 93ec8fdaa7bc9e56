package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/proxy"
)

func featuresCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "features",
		Short: "Show what of Envoy's API the data plane carries out",
		Long: `Features lists, from the tables that configurations are checked with, the filters and messages of
Envoy's v3 API that the Go data plane carries out, and the fields that it refuses by name.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := proxy.Supported()
			if err != nil {
				return err
			}
			switch format {
			case "json":
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(f)
			case "markdown":
				return writeFeatures(c.OutOrStdout(), f)
			}
			return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--output %q: want markdown or json", format)}
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "markdown", "markdown or json")
	return c
}

// writeFeatures writes docs/ENVOY_API.md.
func writeFeatures(w io.Writer, f proxy.Features) error {
	var b strings.Builder
	b.WriteString(`# What of Envoy's API the Go data plane carries out

Made by ` + "`weft proxy features`" + ` from the tables that configurations are checked with. A field that is not supported is refused by its
name: a NACK for what comes over xDS, an error and the exit code 1 for a bootstrap. ` + "`=value`" + ` means: only with that value.

## HTTP filters

`)
	for _, n := range f.HTTPFilters {
		b.WriteString("- `" + n + "`\n")
	}
	b.WriteString("- `envoy.filters.http.router`\n\n## Network filters\n\n")
	for _, n := range f.NetworkFilters {
		b.WriteString("- `" + n + "`\n")
	}
	b.WriteString("- `envoy.filters.network.http_connection_manager`\n- `envoy.filters.network.tcp_proxy`\n\n## Messages\n\n| message | supported | refused |\n|---|---|---|\n")
	for _, m := range f.Messages {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Message, strings.Join(m.Fields, ", "), strings.Join(m.Unsupported, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
