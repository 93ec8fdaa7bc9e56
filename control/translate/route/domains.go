package route

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// shortNames are the ways to write a host from within a DNS domain, e.g.
// "reviews", "reviews.default" and "reviews.default.svc" for
// "reviews.default.svc.cluster.local" from "default.svc.cluster.local".
func shortNames(host, domain string) []string {
	if strings.HasPrefix(host, "*") || domain == "" {
		return nil
	}
	h, d := strings.Split(host, "."), strings.Split(domain, ".")
	common := 0
	for common < len(h) && common < len(d) && h[len(h)-1-common] == d[len(d)-1-common] {
		common++
	}
	// The cluster's domain ("svc.cluster.local") at least must be common, and
	// something must be left over.
	svc := strings.Index("."+domain, ".svc.")
	if svc < 0 || common >= len(h) || common < len(strings.Split(domain[svc:], ".")) {
		return nil
	}
	unique := h[:len(h)-common]
	out := []string{strings.Join(unique, ".")}
	shared := d[len(d)-common:]
	// From its own namespace a service has its namespace in the shared part.
	if shared[0] != "svc" {
		return append(out, out[0]+"."+shared[0]+".svc", out[0]+"."+shared[0])
	}
	return append(out, out[0]+".svc")
}

// absolute is a host with the dot at its end by which DNS knows a full name; an address
// has none. Programs that write it ask for it, too.
func absolute(host string) string {
	if _, err := netip.ParseAddr(host); err == nil || host == "*" {
		return host
	}
	return host + "."
}

// hostNames are all names of a service, the full one first.
func (b *Builder) hostNames(s *model.Service) (full, short []string) {
	full = append([]string{s.Host}, b.v.Index.Aliases(s.Host)...)
	domain := b.v.Proxy.Domain(b.v.Mesh.ClusterDomain)
	for _, h := range full {
		short = append(append(short, absolute(h)), shortNames(h, domain)...)
	}
	if s.Headless && !s.FromEntry {
		// The instances of a headless service have names of their own.
		for _, h := range append(append([]string{}, full...), short...) {
			short = append(short, "*."+h)
		}
	}
	for _, p := range s.VIPs {
		if p.IsSingleIP() {
			short = append(short, bracket(p.Addr()))
		}
	}
	return full, short
}

func bracket(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// withPort appends a port to a domain.
func withPort(domain string, port uint16) string {
	return domain + ":" + strconv.Itoa(int(port))
}
