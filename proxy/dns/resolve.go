package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// ttl of the mesh's own answers: names change when services do.
	ttl = 5
	// firstNames is how long a question waits for the first table.
	firstNames = 2 * time.Second
	// maxAliases bounds a chain of aliases.
	maxAliases = 8
)

// Upstream answers what the mesh does not know.
type Upstream interface {
	Exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error)
}

// Resolver answers questions. It is safe for concurrent use.
type Resolver struct {
	Names *Names
	// Upstream may be nil: unknown names are refused then.
	Upstream Upstream
	// Domain is the cluster's, "cluster.local"; Search the domains by which short
	// names are completed, for programs whose resolver does not.
	Domain string
	Search []string
	// Fixed names, e.g. of the host itself.
	Fixed map[string][]netip.Addr

	requests, forwarded, failed atomic.Uint64
	cache                       cache
}

// Stats are the counters of Istio's agent: dns_requests_total,
// dns_upstream_requests_total, dns_upstream_failures_total.
func (r *Resolver) Stats() (requests, forwarded, failed uint64) {
	return r.requests.Load(), r.forwarded.Load(), r.failed.Load()
}

// Answer answers a message; never nil.
func (r *Resolver) Answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	r.requests.Add(1)
	if len(q.Question) != 1 {
		return failure(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	if addrs, ok := r.Fixed[name]; ok {
		return r.own(q, question, &Host{Name: name, Addresses: addrs})
	}
	if r.mine(name) {
		wait, cancel := context.WithTimeout(ctx, firstNames)
		defer cancel()
		select {
		case <-r.Names.Ready():
		case <-wait.Done():
			return failure(q, dns.RcodeServerFailure)
		}
	}
	if question.Qtype == dns.TypeSRV {
		if m := r.srv(ctx, q, question, name); m != nil {
			return m
		}
	}
	h, err := r.find(ctx, name)
	if err != nil && r.mine(name) {
		return failure(q, dns.RcodeServerFailure)
	}
	if h != nil {
		if h.Canonical != "" {
			return r.alias(ctx, q, question, h)
		}
		return r.own(q, question, h)
	}
	if r.mine(name) {
		return failure(q, dns.RcodeNameError)
	}
	return r.forward(ctx, q)
}

// mine tells whether a name is in the cluster's domain or a single label:
// nobody else can know it.
func (r *Resolver) mine(name string) bool {
	return name == r.Domain || strings.HasSuffix(name, "."+r.Domain) || !strings.Contains(name, ".")
}

// find looks a name up as it is, and completed by the search domains when it
// is short.
func (r *Resolver) find(ctx context.Context, name string) (*Host, error) {
	ctx, cancel := context.WithTimeout(ctx, firstNames)
	defer cancel()
	list, err := r.Names.Get(ctx, r.candidates(name)...)
	if err != nil {
		return nil, err
	}
	for i, h := range list {
		if h != nil && (i == 0 || !strings.HasPrefix(h.Name, "*.")) {
			return h, nil
		}
	}
	return nil, nil
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}

// own answers from a host's addresses. A host without an address of the family
// that was asked for exists all the same: no error, no answer.
func (r *Resolver) own(q *dns.Msg, question dns.Question, h *Host) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Answer = addresses(question, h.Addresses)
	return m
}

func addresses(question dns.Question, list []netip.Addr) []dns.RR {
	var out []dns.RR
	head := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: question.Name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
	}
	for _, a := range list {
		a = a.Unmap()
		switch {
		case a.Is4() && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY):
			out = append(out, &dns.A{Hdr: head(dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (question.Qtype == dns.TypeAAAA || question.Qtype == dns.TypeANY):
			out = append(out, &dns.AAAA{Hdr: head(dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return out
}

// alias answers with a CNAME and what is behind it.
func (r *Resolver) alias(ctx context.Context, q *dns.Msg, question dns.Question, h *Host) *dns.Msg {
	target := h.Canonical
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Answer = []dns.RR{&dns.CNAME{
		Hdr:    dns.RR_Header{Name: question.Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ttl},
		Target: dns.Fqdn(target),
	}}
	depth, _ := ctx.Value(depthKey{}).(int)
	if question.Qtype == dns.TypeCNAME || depth >= maxAliases {
		return m
	}
	next := new(dns.Msg)
	next.SetQuestion(dns.Fqdn(target), question.Qtype)
	behind := r.Answer(context.WithValue(ctx, depthKey{}, depth+1), next)
	m.Rcode = behind.Rcode
	m.Answer = append(m.Answer, behind.Answer...)
	return m
}

type depthKey struct{}

// srv answers "_http._tcp.reviews.default.svc.cluster.local"; nil when the host
// has no such port.
func (r *Resolver) srv(ctx context.Context, q *dns.Msg, question dns.Question, name string) *dns.Msg {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "_") || !strings.HasPrefix(parts[1], "_") {
		return nil
	}
	h, err := r.find(ctx, parts[2])
	if err != nil || h == nil {
		return nil
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	for _, p := range h.Ports {
		if "_"+strings.ToLower(p.Name) == parts[0] && "_"+p.Protocol == parts[1] {
			m.Answer = append(m.Answer, &dns.SRV{
				Hdr:    dns.RR_Header{Name: question.Name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
				Weight: 100, Port: p.Number, Target: dns.Fqdn(h.Name),
			})
		}
	}
	return m
}

func (r *Resolver) forward(ctx context.Context, q *dns.Msg) *dns.Msg {
	if r.Upstream == nil {
		return failure(q, dns.RcodeRefused)
	}
	now := time.Now()
	if m := r.cache.get(q, now); m != nil {
		return m
	}
	r.forwarded.Add(1)
	m, err := r.Upstream.Exchange(ctx, q)
	if err != nil {
		r.failed.Add(1)
		return failure(q, dns.RcodeServerFailure)
	}
	m.Id = q.Id
	r.cache.put(q, m, now)
	return m
}

// ErrNoSuchHost is returned by Lookup for names that do not exist.
var ErrNoSuchHost = errors.New("no such host")

// Lookup returns the addresses of a name, of both families, and how long they
// hold.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	var out []netip.Addr
	life := uint32(1 << 31)
	var failed error
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		q := new(dns.Msg)
		q.SetQuestion(dns.Fqdn(name), typ)
		m := r.Answer(ctx, q)
		switch m.Rcode {
		case dns.RcodeSuccess:
		case dns.RcodeNameError:
			return nil, 0, fmt.Errorf("%s: %w", name, ErrNoSuchHost)
		default:
			failed = fmt.Errorf("%s: name server says %s", name, dns.RcodeToString[m.Rcode])
		}
		for _, rr := range m.Answer {
			var a netip.Addr
			switch rr := rr.(type) {
			case *dns.A:
				a, _ = netip.AddrFromSlice(rr.A.To4())
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(rr.AAAA)
			default:
				continue
			}
			if a.IsValid() {
				out = append(out, a)
				life = min(life, rr.Header().Ttl)
			}
		}
	}
	if len(out) == 0 {
		if failed == nil {
			failed = fmt.Errorf("%s: %w", name, ErrNoSuchHost)
		}
		return nil, 0, failed
	}
	return out, time.Duration(life) * time.Second, nil
}
