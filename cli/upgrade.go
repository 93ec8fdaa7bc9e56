package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/wire"
)

func (e *Env) upgradeCommand() *cobra.Command {
	var req wire.UpgradeRequest
	var selector string
	c := &cobra.Command{
		Use:   "upgrade [INSTANCE...]",
		Short: "Replace running proxies by those of this binary, without cutting anything",
		Long: `Upgrade starts a new proxy beside each that is named (or --all), from this very binary or the one
of --binary. The new one takes over the listening sockets, the counts and what had been learnt; the old
one accepts nothing more, and ends with its last connection. No request fails and no connection is
cut; going back to an older version is the same command.

It goes one by one, or --max-unavailable at a time, and stops at the first failure: a new proxy that is
not ready has no effect on the old one. Ctrl-C stops after the step that is under way.

A proxy that was started by hand is upgraded by starting another with the same --base-id.`,
		Example: "  weft upgrade reviews-v2-0\n  weft upgrade --all --pause 10s\n  weft upgrade --all --selector app=reviews --partition 50%",
		RunE: func(c *cobra.Command, args []string) (err error) {
			if req.All == (len(args) > 0) {
				return fail(CodeUsage, "name the instances to upgrade (`weft status` lists them), or say --all")
			}
			req.Instances = args
			if req.Selector, err = selectorOf(selector); err != nil {
				return err
			}
			if req.Executable == "" {
				req.Executable, err = os.Executable()
			} else {
				req.Executable, err = filepath.Abs(req.Executable)
			}
			if err != nil {
				return fmt.Errorf("the binary to run: %w", err)
			}
			return e.upgrade(c, req)
		},
	}
	f := c.Flags()
	f.BoolVar(&req.All, "all", false, "all proxies, sidecars and gateways")
	f.StringVarP(&selector, "selector", "l", "", "of those, the ones with these labels: key=value, comma separated")
	f.StringVar(&req.MaxUnavailable, "max-unavailable", "1", "how many at a time: a number, or a percentage")
	f.StringVar(&req.Partition, "partition", "0", "how many to leave as they are: a number, or a percentage")
	f.DurationVar(&req.Pause, "pause", 0, "how long to wait between two steps")
	f.DurationVar(&req.Timeout, "timeout", 0, "how long one new proxy may take until it is ready (default: 1m)")
	f.StringVar(&req.Executable, "binary", "", "the weft binary to run (default: this one)")
	e.meshFlag(c)
	return c
}

// selectorOf reads key=value pairs.
func selectorOf(s string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fail(CodeUsage, "--selector %q: want key=value, comma separated", s)
		}
		out[k] = v
	}
	return out, nil
}

func (e *Env) upgrade(c *cobra.Command, req wire.UpgradeRequest) error {
	sup, err := e.supervisor()
	if err != nil {
		return err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r, err := sup.do(c.Context(), http.MethodPost, "/v1/upgrade", nil, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Close()
	out := c.OutOrStdout()
	dec := json.NewDecoder(r)
	for {
		var ev wire.UpgradeEvent
		switch err := dec.Decode(&ev); {
		case errors.Is(err, io.EOF):
			return errors.New("the mesh ended before the upgrade did")
		case err != nil:
			return fmt.Errorf("%s: %w", sup.path, err)
		}
		showUpgrade(out, ev)
		switch ev.State {
		case "finished":
			if ev.Total == 0 && len(req.Selector) > 0 {
				return fail(CodeInvalid, "no proxy has the labels of --selector: `weft get process -o yaml` shows those that there are")
			}
			return nil
		case "stopped":
			return fmt.Errorf("stopped after %d of %d: %s", ev.Done, ev.Total, ev.Error)
		}
	}
}

// showUpgrade prints one line.
func showUpgrade(out io.Writer, ev wire.UpgradeEvent) {
	name := ev.Instance + "." + ev.Namespace
	colour := Colour(out)
	switch ev.State {
	case "started":
		fmt.Fprintf(out, "%s: starting a new proxy\n", name)
	case "done":
		fmt.Fprintf(out, "%s: %s (%d/%d): %s → %s, %s with the old one\n", name, Good.Paint("upgraded", colour), ev.Done, ev.Total,
			ev.From.Version, ev.To.Version, count(draining(ev.To), "connection stays", "connections stay"))
	case "failed":
		fmt.Fprintf(out, "%s: %s: %s\n", name, Bad.Paint("failed", colour), ev.Error)
	case "skipped":
		fmt.Fprintf(out, "%s: skipped: %s\n", name, ev.Error)
	case "finished":
		fmt.Fprintf(out, "%d of %d upgraded\n", ev.Done, ev.Total)
	}
}

func draining(st *wire.HandoverStatus) (n int64) {
	for _, d := range st.Draining {
		n += d.Connections
	}
	return n
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// proxyCell says which version a proxy is, and what is left of those before.
func proxyCell(st *wire.HandoverStatus) string {
	if st == nil {
		return ""
	}
	s := st.Version
	if st.Generation > 0 {
		s += fmt.Sprintf(" (generation %d)", st.Generation)
	}
	if n := len(st.Draining); n > 0 {
		s += fmt.Sprintf(", %d draining with %s", n, count(draining(st), "connection", "connections"))
	}
	return s
}
