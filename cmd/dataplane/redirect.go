package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/wire"
)

// redirectFlags are those of Istio's istio-iptables, as init containers have them.
type redirectFlags struct {
	outbound, inbound, dns                    uint16
	uids, gids, mode                          string
	includeNets, excludeNets                  string
	includeIn, excludeIn                      string
	includeOut, excludeOut, reroute, skipFace string
	captureDNS, validate, skip                bool
}

// redirect leads the traffic of this network namespace to the proxy: what an init
// container does, as root with CAP_NET_ADMIN and nothing else.
func redirect(ctx context.Context, args []string, out io.Writer) error {
	var r redirectFlags
	f := flagSet("istio-iptables")
	f.Uint16VarP(&r.outbound, "envoy-port", "p", wire.PortOutbound, "port to which outbound TCP is redirected")
	f.Uint16VarP(&r.inbound, "inbound-capture-port", "z", wire.PortInbound, "port to which inbound TCP is redirected")
	f.Uint16Var(&r.dns, "agent-dns-port", wire.PortDNS, "port of the resolver")
	f.StringVarP(&r.uids, "proxy-uid", "u", "1337", "users whose traffic is left alone, separated by commas")
	f.StringVarP(&r.gids, "proxy-gid", "g", "", "groups whose traffic is left alone (default: as -u)")
	f.StringVarP(&r.mode, "istio-inbound-interception-mode", "m", "REDIRECT", "REDIRECT")
	f.StringVarP(&r.includeNets, "istio-service-cidr", "i", "", "networks to which traffic is redirected, separated by commas; *: all")
	f.StringVarP(&r.excludeNets, "istio-service-exclude-cidr", "x", "", "networks to which traffic is left alone")
	f.StringVarP(&r.includeIn, "istio-inbound-ports", "b", "", "ports of which inbound traffic is redirected; *: all")
	f.StringVarP(&r.excludeIn, "istio-local-exclude-ports", "d", "", "ports of which it is not, where all are")
	f.StringVarP(&r.includeOut, "istio-outbound-ports", "q", "", "ports to which traffic is redirected, wherever to")
	f.StringVarP(&r.excludeOut, "istio-local-outbound-ports-exclude", "o", "", "ports to which it is not")
	f.StringVarP(&r.reroute, "kube-virt-interfaces", "k", "", "interfaces of virtual machines, of which traffic is outbound")
	f.StringVarP(&r.skipFace, "istio-exclude-interfaces", "c", "", "interfaces of which traffic is left alone")
	f.BoolVar(&r.captureDNS, "redirect-dns", os.Getenv("ISTIO_META_DNS_CAPTURE") == "true", "redirect port 53")
	f.BoolVar(&r.validate, "run-validation", false, "check that traffic is redirected")
	f.BoolVar(&r.skip, "skip-rule-apply", false, "redirect nothing")
	for _, name := range []string{"native-nftables", "force-apply", "log_as_json", "capture-all-dns", "dry-run", "dual-stack", "drop-invalid", "cni-mode"} {
		_ = f.Bool(name, false, "Istio's, without effect")
		_ = f.MarkHidden(name)
	}
	for _, name := range []string{"log_output_level", "log_target", "network-namespace"} {
		_ = f.String(name, "", "Istio's, without effect")
		_ = f.MarkHidden(name)
	}
	if err := f.Parse(args); err != nil {
		return &UsageError{Err: err}
	}
	if f.NArg() > 0 {
		return usage("istio-iptables: unexpected argument %q", f.Arg(0))
	}
	p, err := r.pod()
	if err != nil {
		return &UsageError{Err: fmt.Errorf("istio-iptables: %w", err)}
	}
	if !r.skip {
		if err := capture.InstallPod(p); err != nil {
			return err
		}
		fmt.Fprintf(out, "traffic is redirected: %+v\n", p)
	}
	if r.validate {
		return validate(ctx, p)
	}
	return nil
}

// pod is what the flags say.
func (r *redirectFlags) pod() (p capture.Pod, err error) {
	if r.mode != "REDIRECT" {
		return p, fmt.Errorf("-m %s: want REDIRECT: the others are not carried out (annotation sidecar.istio.io/interceptionMode, interceptionMode of the ProxyConfig)", r.mode)
	}
	p.Outbound, p.Inbound = r.outbound, r.inbound
	if r.captureDNS {
		p.DNS = r.dns
	}
	var errs []error
	fail := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("-%s: %w", flag, err))
		}
	}
	p.UIDs, err = numbers[uint32](r.uids, 32)
	fail("u", err)
	p.GIDs = p.UIDs
	if r.gids != "" {
		p.GIDs, err = numbers[uint32](r.gids, 32)
		fail("g", err)
	}
	p.AllOutbound, p.AllInbound = r.includeNets == "*", r.includeIn == "*"
	if !p.AllOutbound {
		p.OutboundNets, err = networks(r.includeNets)
		fail("i", err)
	}
	p.SkipOutboundNets, err = networks(r.excludeNets)
	fail("x", err)
	if !p.AllInbound {
		p.InboundPorts, err = numbers[uint16](r.includeIn, 16)
		fail("b", err)
	}
	p.SkipInbound, err = numbers[uint16](r.excludeIn, 16)
	fail("d", err)
	if r.includeOut == "*" {
		p.AllOutbound = true
	} else {
		p.OutboundPorts, err = numbers[uint16](r.includeOut, 16)
		fail("q", err)
	}
	p.SkipOutbound, err = numbers[uint16](r.excludeOut, 16)
	fail("o", err)
	p.Reroute, p.SkipInterfaces = words(r.reroute), words(r.skipFace)
	if len(p.UIDs) == 0 {
		errs = append(errs, errors.New("-u: want a user: without one the proxy's own traffic is redirected to itself"))
	}
	return p, errors.Join(errs...)
}

func words(list string) (out []string) {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func numbers[T uint16 | uint32](list string, bits int) (out []T, err error) {
	for _, s := range words(list) {
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("%q: want a number of at most %d bits", s, bits)
		}
		out = append(out, T(n))
	}
	return out, nil
}

func networks(list string) (out []netip.Prefix, err error) {
	for _, s := range words(list) {
		n, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q: want a network, as 10.0.0.0/8", s)
		}
		out = append(out, n.Masked())
	}
	return out, nil
}

// validationTime is how long a CNI plug-in may take after the pod's network is there.
const validationTime = 10 * time.Second

// unusedPort is one of the mesh's that nobody listens on.
const unusedPort = 15002

// validate waits until somebody has redirected: what the proxy's user sends to the pod's
// own address comes to the inbound port then. It needs no privilege.
func validate(ctx context.Context, p capture.Pod) error {
	own, err := ownAddress()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(int(p.Inbound))))
	if err != nil {
		return fmt.Errorf("the proxy's port: %w", err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, validationTime)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(own, unusedPort).String())
		if err == nil {
			return c.Close()
		}
		t := time.NewTimer(waitPeriod)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("nobody has redirected the pod's traffic within %s: is the CNI plug-in installed on this node? (%w)", validationTime, err)
		}
	}
}

// ownAddress is the pod's.
func ownAddress() (netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range list {
		n, err := netip.ParsePrefix(a.String())
		if err == nil && !n.Addr().IsLoopback() && !n.Addr().IsLinkLocalUnicast() {
			return n.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this pod has no address")
}

// clean takes the rules away.
func clean(context.Context, []string, io.Writer) error { return capture.Remove() }
