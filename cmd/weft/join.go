package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/member"
	"github.com/weftmesh/weft/wire"
)

// proxyUser is the user of sidecars, as in Istio's pods: by it their own traffic is told apart.
const proxyUser = 1337

// joinFlags are those of `weft join`.
type joinFlags struct {
	in             member.Invited
	user           string
	capture        string
	skipIn, skip   []string
	labels         map[string]string
	enroll, unit   bool
	level          string
	skipInN, skipN []uint16
}

func joinCommand() *cobra.Command {
	var j joinFlags
	c := &cobra.Command{
		Use:   "join [URL --token TOKEN] [-- COMMAND ...]",
		Short: "Make this machine's service part of a mesh that runs elsewhere",
		Long: `Join shows a token (weft token create) to the control plane at URL, gets an identity for it, and
takes part in the mesh until it is ended: the machine's service is a workload of the token's WorkloadGroup, names
of the mesh are known, and traffic in both directions goes through the proxy, with mutual TLS.

With a COMMAND it runs that as the service, and ends with it. Once joined, "weft join" without URL goes on, also after
a reboot; no token is needed while the certificate holds, which is renewed. "weft leave" ends the membership.

It needs root, for the rules that lead traffic to the proxy, unless --capture is none.`,
		Example: `  weft join mesh.example.com:15012 --token "$TOKEN" -- ./reviews
  weft join mesh.example.com:15012 --token "$TOKEN" --enroll-only && weft join --print-unit > /etc/systemd/system/weft.service`,
		Args: func(_ *cobra.Command, _ []string) error { return nil },
		RunE: func(c *cobra.Command, args []string) error { return j.run(c, args) },
	}
	f := c.Flags()
	f.StringVar(&j.in.Token, "token", "", "join token; @FILE reads it from a file")
	f.StringVar(&j.in.ServerName, "server-name", "", "what the control plane's certificate is for (default: the host of URL)")
	f.StringVar(&j.in.Dir, "state-dir", member.DefaultDir, "folder that keeps the membership: who this machine is, and its certificate")
	f.StringVar(&j.in.Name, "name", "", "the workload's name (default: the machine's)")
	f.StringVar(&j.in.IP, "address", "", "at which others reach this machine (default: that from which it reaches the control plane)")
	f.StringVar(&j.user, "proxy-user", strconv.Itoa(proxyUser), "user of the proxy, a name or a number, which is nobody else's")
	f.StringVar(&j.capture, "capture", "all", "what goes through the proxy: all, outbound, inbound, or none")
	f.StringSliceVar(&j.skipIn, "skip-inbound", []string{"22"}, "ports of which inbound traffic is left alone")
	f.StringSliceVar(&j.skip, "skip-outbound", nil, "ports to which outbound traffic is left alone")
	f.StringToStringVarP(&j.labels, "labels", "l", nil, "labels of the workload, beside its group's: version=v2")
	f.BoolVar(&j.enroll, "enroll-only", false, "get the identity, and end")
	f.BoolVar(&j.unit, "print-unit", false, "print a systemd unit that runs this membership, and end")
	f.StringVar(&j.level, "log-level", "info", "debug, info, warn or error")
	c.MarkFlagsMutuallyExclusive("enroll-only", "print-unit")
	return c
}

func (j *joinFlags) run(c *cobra.Command, args []string) error {
	usage := func(format string, a ...any) error {
		return &cli.Error{Code: cli.CodeUsage, Err: fmt.Errorf(format, a...)}
	}
	var command []string
	if n := c.ArgsLenAtDash(); n >= 0 {
		args, command = args[:n], args[n:]
	}
	switch {
	case len(args) > 1:
		return usage("join: unexpected argument %q: a command comes after --", args[1])
	case len(args) == 1 && j.in.Token == "":
		return usage("join: %s needs --token: `weft token create` makes one", args[0])
	case len(args) == 0 && j.in.Token != "":
		return usage("join: --token needs the control plane's URL: weft join HOST:15012 --token …")
	}
	if err := j.check(); err != nil {
		return usage("join: %v", err)
	}
	log, _, err := logger(j.level)
	if err != nil {
		return err
	}
	j.in.Log = log
	if len(args) == 1 {
		j.in.URL = args[0]
		if j.in.Token, err = tokenOf(j.in.Token); err != nil {
			return usage("join: --token: %v", err)
		}
		s, err := member.Enroll(c.Context(), j.in)
		if err != nil {
			return err
		}
		until, err := member.Holds(j.in.Dir, time.Now())
		if err != nil {
			return err
		}
		log.Info("enrolled", "as", "spiffe://"+s.Invitation.TrustDomain+"/ns/"+s.Invitation.Namespace+"/sa/"+s.Invitation.ServiceAccount, "until", until, "kept in", j.in.Dir)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	switch {
	case j.enroll:
		return nil
	case j.unit:
		return member.Unit(c.OutOrStdout(), exe, j.in.Dir, j.arguments(), command)
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return member.Run(ctx, member.Running{
		Dir: j.in.Dir, Proxy: []string{exe, "proxy", "--istio", string(wire.Sidecar), "--log-level", j.level}, User: j.in.User,
		Capture: j.rules(), Service: command, Labels: j.labels, Log: log,
	})
}

// check reads what flags say.
func (j *joinFlags) check() (err error) {
	switch j.capture {
	case "all", "outbound", "inbound", "none":
	default:
		return fmt.Errorf("--capture %q: want all, outbound, inbound or none", j.capture)
	}
	if j.skipInN, err = ports(j.skipIn); err != nil {
		return fmt.Errorf("--skip-inbound %w", err)
	}
	if j.skipN, err = ports(j.skip); err != nil {
		return fmt.Errorf("--skip-outbound %w", err)
	}
	if j.capture == "none" || j.unit {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("leading traffic to the proxy needs root: use sudo, or --capture none")
	}
	if j.in.User, err = strconv.Atoi(j.user); err != nil {
		u, err := user.Lookup(j.user)
		if err != nil {
			return fmt.Errorf("--proxy-user: %w", err)
		}
		j.in.User, _ = strconv.Atoi(u.Uid) // a number on all systems that have the rules
	}
	if j.in.User == 0 {
		return errors.New("--proxy-user: want another user than root, by whom the proxy's own traffic is told apart")
	}
	return nil
}

// rules are what leads traffic to the proxy; nil: nothing.
func (j *joinFlags) rules() *capture.Pod {
	if j.capture == "none" {
		return nil
	}
	id := []uint32{uint32(j.in.User)} //nolint:gosec // a user id
	p := &capture.Pod{Outbound: wire.PortOutbound, Inbound: wire.PortInbound, DNS: wire.PortDNS, UIDs: id, GIDs: id}
	p.AllInbound, p.SkipInbound = j.capture != "outbound", append(j.skipInN, wire.PortMerged, wire.PortHealth, wire.PortPrometheus)
	p.AllOutbound, p.SkipOutbound = j.capture != "inbound", j.skipN
	return p
}

// arguments are those with which a unit goes on.
func (j *joinFlags) arguments() []string {
	out := []string{"--capture", j.capture, "--proxy-user", j.user, "--skip-inbound", strings.Join(j.skipIn, ",")}
	if len(j.skip) > 0 {
		out = append(out, "--skip-outbound", strings.Join(j.skip, ","))
	}
	for k, v := range j.labels {
		out = append(out, "-l", k+"="+v)
	}
	return out
}

func ports(list []string) (out []uint16, err error) {
	for _, s := range list {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: want a port", s)
		}
		out = append(out, uint16(n))
	}
	return out, nil
}

// tokenOf reads @FILE.
func tokenOf(text string) (string, error) {
	path, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	raw, err := os.ReadFile(path)
	return strings.TrimSpace(string(raw)), err
}

func leaveCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "leave",
		Short: "End this machine's membership in a mesh",
		Long: `Leave ends "weft join", if it runs, takes back the rules that lead traffic to the proxy, and forgets the identity.
Where systemd runs it, disable the unit first: it would be started again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := member.Leave(c.Context(), dir); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "left")
			return nil
		},
	}
	c.Flags().StringVar(&dir, "state-dir", member.DefaultDir, "folder that keeps the membership")
	return c
}
