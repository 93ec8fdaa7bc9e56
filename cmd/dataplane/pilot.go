package dataplane

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/wire"
)

// In pods that were injected by templates for pilot-agent this binary stands in its place,
// and is called as it is.

// pilotFlags are flags of pilot-agent's.
type pilotFlags struct{ level string }

// addPilots defines the flags that `pilot-agent proxy` has.
func (p *Flags) addPilots(f *pflag.FlagSet) {
	f.StringVar(&p.domain, "domain", "", "DNS suffix of the proxy's namespace")
	f.StringVar(&p.pilot.level, "proxyLogLevel", "", "as --log-level")
	_ = f.MarkHidden("domain")
	_ = f.MarkHidden("proxyLogLevel")
	var text string
	var yes bool
	var n int
	for _, name := range []string{"proxyComponentLogLevel", "log_output_level", "outlierLogPath", "serviceCluster", "templateFile", "meshConfig"} {
		f.StringVar(&text, name, "", "pilot-agent's, without effect")
		_ = f.MarkHidden(name)
	}
	f.BoolVar(&yes, "log_as_json", false, "pilot-agent's, without effect")
	f.IntVar(&n, "stsPort", 0, "pilot-agent's, without effect")
	_ = f.MarkHidden("log_as_json")
	_ = f.MarkHidden("stsPort")
}

// Pilot takes pilot-agent's words "proxy sidecar" or "proxy router" out of the arguments:
// they say the same as --istio.
func (p *Flags) Pilot(args []string) ([]string, error) {
	if len(args) == 0 || args[0] != "proxy" {
		return args, nil
	}
	if args = args[1:]; len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return args, nil
	}
	return args[1:], p.Kind(args[0])
}

// Kind is such a word.
func (p *Flags) Kind(word string) error {
	switch wire.NodeType(word) {
	case wire.Sidecar, wire.Router:
		p.istio = word
		return nil
	}
	return usage("proxy %q: want %s or %s", word, wire.Sidecar, wire.Router)
}

// Helpers are commands that stand beside the proxy, by pilot-agent's names.
var Helpers = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"istio-iptables": redirect, "istio-clean-iptables": clean, "request": request, "wait": wait,
}

// Helper runs a helper, if the arguments are of one.
func Helper(ctx context.Context, args []string, out io.Writer) (err error, done bool) {
	if len(args) == 0 || Helpers[args[0]] == nil {
		return nil, false
	}
	return Helpers[args[0]](ctx, args[1:], out), true
}

// flagSet is that of a helper.
func flagSet(name string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Usage = func() { fmt.Fprintf(os.Stderr, "Usage of %s:\n%s", name, f.FlagUsages()) }
	return f
}

// Bounds of helpers.
const (
	waitTimeout = time.Minute
	waitPeriod  = 500 * time.Millisecond
	askTimeout  = 5 * time.Second
)
