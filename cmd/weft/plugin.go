package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/plugin"
)

func pluginCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "plugin",
		Short: "Begin, try out and publish WebAssembly plug-ins",
		Long:  `Plugin begins a project of a WebAssembly plug-in, runs a module against recorded requests, and pushes it to an image registry.`,
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(pluginNew(), pluginTest(), pluginPush())
	return c
}

func pluginNew() *cobra.Command {
	var language string
	c := &cobra.Command{
		Use:     "new DIR",
		Short:   "Begin a project",
		Example: "  weft plugin new stamp\n  weft plugin new stamp --lang rust",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			files, err := plugin.New(args[0], language)
			for _, f := range files {
				fmt.Fprintln(c.OutOrStdout(), f)
			}
			return err
		},
	}
	c.Flags().StringVar(&language, "lang", "go", strings.Join(plugin.Languages, " or "))
	return c
}

func pluginTest() *cobra.Command {
	var verbose bool
	c := &cobra.Command{
		Use:   "test MODULE REQUESTS",
		Short: "Run a module against recorded requests",
		Long: `Test loads a module into the data plane's own filter and sends the requests of a YAML file through it. It fails when
something is not as the file expects. Calls to clusters are answered as failed: there are none.`,
		Example: "  weft plugin test plugin.wasm requests.yaml",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			log := slog.New(slog.DiscardHandler)
			if verbose {
				log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			}
			outcomes, err := plugin.Test(c.Context(), args[0], args[1], log)
			bad := 0
			for _, o := range outcomes {
				if len(o.Faults) == 0 {
					fmt.Fprintf(c.OutOrStdout(), "ok    %s\n", o.Name)
					continue
				}
				bad++
				fmt.Fprintf(c.OutOrStdout(), "FAIL  %s\n", o.Name)
				for _, f := range o.Faults {
					fmt.Fprintf(c.OutOrStdout(), "      %s\n", f)
				}
			}
			if bad > 0 {
				return &cli.Error{Code: cli.CodeFailed, Err: fmt.Errorf("%d of %d requests are not as expected", bad, len(outcomes))}
			}
			return err
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the module logs")
	return c
}

func pluginPush() *cobra.Command {
	var user string
	var plain bool
	c := &cobra.Command{
		Use:   "push MODULE IMAGE",
		Short: "Push a module to an image registry",
		Long: `Push packs a module as an OCI image of one layer and sends it to a registry that takes a name and a password with each
request, or nothing. The password is read from WEFT_REGISTRY_PASSWORD.`,
		Example: "  weft plugin push plugin.wasm registry.example.com/stamp:v1 --user me",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if user != "" {
				password, ok := os.LookupEnv("WEFT_REGISTRY_PASSWORD")
				if !ok {
					return errors.New("--user: put the password into WEFT_REGISTRY_PASSWORD")
				}
				user += ":" + password
			}
			sum, err := plugin.Push(c.Context(), &http.Client{Timeout: 5 * time.Minute}, args[0], plugin.Image{Ref: args[1], User: user, Plain: plain})
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), sum)
			}
			return err
		},
	}
	c.Flags().StringVar(&user, "user", "", "name at the registry")
	c.Flags().BoolVar(&plain, "plain-http", false, "speak HTTP to the registry")
	return c
}
