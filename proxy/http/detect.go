package http

import (
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Detector finds the client's address in a request (Envoy's
// original_ip_detection_extensions). Exactly one of XFF and Header is meant.
type Detector struct {
	// Header names the field that has the address; "": it is x-forwarded-for's.
	Header string
	// Trusted: the address may make the request an internal one.
	Trusted bool
	// RejectStatus answers requests without a usable address; 0: they go on.
	RejectStatus int
	// Hops of x-forwarded-for to skip from the right, or CIDRs, whose addresses are skipped.
	Hops  int
	CIDRs []netip.Prefix
	// Append adds the peer's address to x-forwarded-for.
	Append bool
}

// detect asks the detectors in turn. single: the address may be taken as one
// from inside. reject is the status that answers, 0: none.
func (s *call) detect(h *filter.Headers) (client netip.Addr, single bool, reject int) {
	peer := s.c.info.Remote.Addr()
	for i := range s.m.cfg.Detect {
		d := &s.m.cfg.Detect[i]
		switch {
		case d.Header != "":
			a, err := netip.ParseAddr(strings.TrimSpace(h.Get(d.Header)))
			if err != nil {
				if d.RejectStatus != 0 {
					return netip.Addr{}, false, d.RejectStatus
				}
				continue
			}
			return a.Unmap(), d.Trusted, 0
		case len(d.CIDRs) > 0:
			client = d.untrusted(h, peer)
		default:
			client, single = lastForwarded(h, d.Hops)
		}
		if !client.IsValid() {
			continue
		}
		if d.Append {
			appendAddr(h, "x-forwarded-for", peer)
		}
		return client, single, 0
	}
	return netip.Addr{}, false, 0
}

// untrusted is the last address of x-forwarded-for that is not one of ours.
func (d *Detector) untrusted(h *filter.Headers, peer netip.Addr) netip.Addr {
	if !within(d.CIDRs, peer) {
		return netip.Addr{}
	}
	list, _ := h.Joined("x-forwarded-for")
	var last netip.Addr
	for list != "" {
		i := strings.LastIndexByte(list, ',')
		a, err := netip.ParseAddr(strings.TrimSpace(list[i+1:]))
		if err != nil {
			return last
		}
		if last = a.Unmap(); !within(d.CIDRs, last) || i < 0 {
			return last
		}
		list = list[:i]
	}
	return last
}
