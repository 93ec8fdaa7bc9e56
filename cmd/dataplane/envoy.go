package dataplane

import (
	"runtime"

	"github.com/spf13/pflag"
)

// envoyLevels are levels of Envoy's log that this one calls otherwise.
var envoyLevels = map[string]string{"trace": "debug", "warning": "warn", "critical": "error", "off": "error+100"}

// addEnvoys defines the flags that pilot-agent gives Envoy, so that it can start
// this proxy in Envoy's place (binaryPath). Beside concurrency they are about what
// is done otherwise here in any case: clients are told of a drain at once, access
// logs are written within a second, one proxy takes over from another only with
// --base-id, and unknown fields are refused.
func (p *Flags) addEnvoys(f *pflag.FlagSet) {
	f.Uint32Var(&p.concurrency, "concurrency", 0, "processors to use; 0: all")
	var text string
	var yes bool
	for _, name := range []string{
		"drain-strategy", "local-address-ip-version", "file-flush-interval-msec", "file-flush-min-size-kb", "component-log-level", "log-format",
	} {
		f.StringVar(&text, name, "", "Envoy's, without effect")
		_ = f.MarkHidden(name)
	}
	for _, name := range []string{"disable-hot-restart", "allow-unknown-static-fields", "skip-deprecated-logs"} {
		f.BoolVar(&yes, name, false, "Envoy's, without effect")
		_ = f.MarkHidden(name)
	}
}

// Processors is --concurrency; 0: not given.
func (p *Flags) Processors() int { return int(p.concurrency) }

// limitProcessors carries --concurrency out.
func (p *Flags) limitProcessors() {
	if p.concurrency > 0 {
		runtime.GOMAXPROCS(int(p.concurrency))
	}
}
