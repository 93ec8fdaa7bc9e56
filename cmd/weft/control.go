package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/control/identity"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/kube/inject/webhook"
	"github.com/weftmesh/weft/kube/validate"
	"github.com/weftmesh/weft/wire"
)

// modeFlag adds --config-mode.
func modeFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "config-mode", wire.ModeEager, "what proxies get: all that they may see (eager), or what they use, when they first do (on-demand);\n"+
		"the annotation "+wire.ModeKey+" of a workload beats it")
	_ = c.RegisterFlagCompletionFunc("config-mode", cobra.FixedCompletions([]string{wire.ModeEager, wire.ModeOnDemand}, cobra.ShellCompDirectiveNoFileComp))
}

// idleFlag adds --idle-after.
func idleFlag(c *cobra.Command, to *time.Duration) {
	c.Flags().DurationVar(to, "idle-after", time.Hour, "after how long without use a proxy on demand loses what it asked for; it may ask again")
}

// captureFlags adds --capture-range and --vip-range.
func captureFlags(c *cobra.Command, capture, vips *string) {
	c.Flags().StringVar(capture, "capture-range", wire.CaptureAll, "which traffic of programs enters their sidecars: all, or vip: only what goes to the services' own\n"+
		"addresses, of which every service gets one then; the rest goes where it is meant to, unseen")
	_ = c.RegisterFlagCompletionFunc("capture-range", cobra.FixedCompletions([]string{wire.CaptureAll, wire.CaptureVIP}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(vips, "vip-range", "", "where services' own addresses are: a prefix of each family, comma separated\n(default: "+prefixes(wire.DefaultVIPRange().Services)+"; of ServiceEntries "+prefixes(wire.DefaultVIPRange().Entries)+")")
}

func prefixes(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return strings.Join(out, " and ")
}

// checkCapture reads the flags of captureFlags.
func checkCapture(capture, vips string) (wire.VIPRange, error) {
	if capture != wire.CaptureAll && capture != wire.CaptureVIP {
		return wire.VIPRange{}, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--capture-range %q: want %s or %s", capture, wire.CaptureAll, wire.CaptureVIP)}
	}
	r, err := wire.ParseVIPRange(vips)
	if err != nil {
		return r, &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--vip-range: %w", err)}
	}
	return r, nil
}

func checkMode(mode string) error {
	if mode != wire.ModeEager && mode != wire.ModeOnDemand {
		return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf("--config-mode %q: want %s or %s", mode, wire.ModeEager, wire.ModeOnDemand)}
	}
	return nil
}

// injectionFiles are those of the settings of injection.
type injectionFiles struct{ settings, mesh string }

// webhooks are what API servers ask.
func webhooks(i injectionFiles, log *slog.Logger) (map[string]http.Handler, error) {
	files, err := webhook.NewFiles(i.settings, i.mesh, log)
	if err != nil {
		return nil, fmt.Errorf("--inject-settings: %w", err)
	}
	inject := webhook.Handler(webhook.Options{Injector: files.Injector, Log: log.With("component", "inject")})
	return map[string]http.Handler{
		validate.Path: validate.Handler(file.NewDecoder(), log), webhook.Path: inject, webhook.Path + "/": inject,
	}, nil
}

func controlCommand() *cobra.Command {
	var o control.Options
	var level, vips string
	var v4 bool
	var in injectionFiles
	c := &cobra.Command{
		Use:   "control",
		Short: "Run the control plane: configuration in, xDS and certificates out",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, _, err := logger(level)
			if err != nil {
				return err
			}
			if len(o.Config) == 0 {
				return &cli.Error{Code: cli.CodeUsage, Err: errors.New("control needs --config: a folder of YAML, kubernetes://, or xds://host:port")}
			}
			if o.XDSSocket == "" && o.Secure.Address == "" && o.Plaintext == "" {
				return &cli.Error{Code: cli.CodeUsage, Err: errors.New("control needs --xds host:port, --xds-socket PATH or --xds-plaintext host:port: where proxies ask for their configuration")}
			}
			if err := checkMode(o.ConfigMode); err != nil {
				return err
			}
			if o.VIPRange, err = checkCapture(o.CaptureRange, vips); err != nil {
				return err
			}
			o.Log, o.Version = log, versionString()
			if v4 {
				o.Families = []int{4}
			}
			if o.Webhook.Address != "" {
				if o.Webhook.Handlers, err = webhooks(in, log); err != nil {
					return err
				}
			}
			thrift(c.Context())
			return control.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.Config, "config", nil, "folder or file of YAML; an API server of Kubernetes: kubernetes://, or kubernetes://?kubeconfig=FILE&context=NAME;\nor a server of MCP over xDS: xds://host:port, or xds+tls://host:port?ca=FILE&cert=FILE&key=FILE&server-name=NAME&token=FILE (may be repeated)")
	f.StringVar(&o.Overlay, "overlay", "", "folder of applied objects, which win over --config")
	f.StringVar(&o.ProcessState, "process-state", "", "file in which a supervisor says what runs")
	f.StringVar(&o.XDSSocket, "xds-socket", "", "unix socket for xDS and certificate requests")
	f.StringVar(&o.Secure.Address, "xds", "", "host:port for xDS and certificate requests over TLS (Istio's is :15012): proxies show the certificate that they have of\nthe mesh, or a token of a --token-issuer; the root certificate is ca-cert.pem in --state-dir")
	f.StringArrayVar(&o.Secure.Names, "xds-name", nil, "name that the certificate at --xds is for, beside localhost, this machine's name and its addresses (may be repeated;\ndefault: "+strings.Join(control.ServerNames, ", ")+")")
	f.StringArrayVar(&o.Secure.Issuers, "token-issuer", nil, "issuer of proxies' tokens, whose keys are at ISSUER/.well-known/openid-configuration; or ISSUER=FILE, ISSUER=URL of\nits JSON web key set (may be repeated); subjects are system:serviceaccount:NAMESPACE:NAME, or SPIFFE URIs")
	f.StringVar(&o.Secure.Audience, "token-audience", identity.DefaultAudience, "whom those tokens have to be for")
	f.StringVar(&o.Plaintext, "xds-plaintext", "", "host:port for xDS in plain text: proxies are who they say they are, and get no secrets")
	f.StringSliceVar(&o.Replicas, "replicas", nil, "host:port of the --xds-plaintext of all replicas, this one first: they share global quotas (default: there are no others)")
	f.StringVar(&o.ServeMCP, "serve-mcp", "", "offer what registries and configuration amount to (ServiceEntry, WorkloadEntry) to an istiod or another Weft, by MCP over xDS:\n"+
		"xds+tls://host:port?cert=FILE&key=FILE&ca=FILE&token=FILE, or xds://host:port in plain text")
	f.StringVar(&o.InCluster, "in-cluster", "", "namespace of the Kubernetes cluster that the control plane runs in: the root certificate is in its Secret weft-ca, tokens of the\n"+
		"cluster's service accounts are trusted, and what pods and API servers need is written")
	f.StringVar(&o.Webhook.Address, "webhook", "", "host:port where Kubernetes API servers ask, over TLS, whether objects are valid ("+validate.Path+"), and what new pods\nare to have ("+webhook.Path+")")
	f.StringVar(&in.settings, "inject-settings", "", "file of injection settings, which may change (default: as weft inject has them)")
	f.StringVar(&in.mesh, "inject-mesh-config", "", "file of the mesh configuration (MeshConfig) for injection, which may change")
	f.StringVar(&o.Monitoring, "monitoring", "", "host:port for metrics (/metrics), readiness (/ready) and profiles (/debug/pprof/)")
	f.StringVar(&o.ConsoleSocket, "console-socket", "weft-control.sock", "unix socket of the control plane's own API")
	f.StringVar(&o.StateDir, "state-dir", "weft-control", "folder that keeps the root certificate, the services' addresses, and what proxies used")
	f.DurationVar(&o.CertTTL, "cert-ttl", time.Duration(0), "lifetime of workload certificates (default: the mesh's, 24h)")
	modeFlag(c, &o.ConfigMode)
	idleFlag(c, &o.IdleAfter)
	captureFlags(c, &o.CaptureRange, &vips)
	f.BoolVar(&v4, "ipv4-only", false, "allocate no IPv6 addresses")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}
