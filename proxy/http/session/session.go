// Package session is the HTTP filter envoy.filters.http.stateful_session: it
// sends the requests of a session to the same host as long as it lives. The
// session is the host's address, which the client keeps in a cookie or header.
//
// A host that is gone or unhealthy is replaced by the load balancer's choice,
// unless the configuration is strict. Retries go wherever the load balancer says.
package session

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.stateful_session"

// config is the filter's or a route's. Without cookie and header it does nothing.
type config struct {
	cookie, path string
	ttl          time.Duration
	header       string
	strict       bool
	status       int
}

type factory struct {
	name  string
	own   *config
	stats *counters // nil: nothing is counted; of routes' configurations nothing ever is
}

// counters say what became of sessions: their host was chosen, another was, or
// none; none: the request is not of one.
type counters struct{ routed, open, closed, none *filter.Counter }

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{factory: f} }

type instance struct {
	filter.PassThrough
	factory *factory
	cfg     *config
	host    netip.AddrPort // of the session
}

// RequestHeaders asks for the host of the session.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	c := x.factory.own
	if r, ok := s.RouteConfig(x.factory.name).(*config); ok {
		c = r
	}
	var text string
	switch {
	case c.cookie != "" && under(h.Path, c.path):
		text = fromCookie(cookieOf(h, c.cookie))
	case c.header != "":
		if b, err := base64.StdEncoding.DecodeString(h.Get(c.header)); err == nil {
			text = string(b)
		}
	default:
		if st := x.factory.stats; st != nil && c == x.factory.own && c.cookie != "" {
			st.none.Add(1)
		}
		return filter.Continue
	}
	x.cfg = c
	if a, err := netip.ParseAddrPort(text); err == nil {
		x.host = a
		s.Info().Override = filter.Override{Host: a, Strict: c.strict, Status: c.status}
	}
	return filter.Continue
}

// ResponseHeaders tells the client its host, when it is another.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	host := s.Info().Upstream.Host
	x.count(s.Info(), host)
	if x.cfg == nil || !host.IsValid() || host == x.host {
		return filter.Continue
	}
	if x.cfg.header != "" {
		h.Set(x.cfg.header, base64.StdEncoding.EncodeToString([]byte(host.String())))
		return filter.Continue
	}
	h.Add("set-cookie", x.cfg.setCookie(host))
	return filter.Continue
}

// count tells of the host that was chosen.
func (x *instance) count(i *filter.Info, host netip.AddrPort) {
	st := x.factory.stats
	switch {
	case st == nil || x.cfg != x.factory.own:
	case !host.IsValid():
		if x.cfg.strict && i.Flags&filter.FlagNoHealthyUpstream != 0 {
			st.closed.Add(1)
		}
	case host == x.host:
		st.routed.Add(1)
	default:
		st.open.Add(1)
	}
}

// under tells whether a path is at or below that of the cookie.
func under(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (of == "" || strings.HasSuffix(of, "/") || rest == "" || strings.IndexByte("/?#", rest[0]) >= 0)
}

func cookieOf(h *filter.Headers, name string) string {
	for line := range h.Values("cookie") {
		for c := range strings.SplitSeq(line, ";") {
			if n, v, ok := strings.Cut(strings.TrimSpace(c), "="); ok && n == name {
				return strings.Trim(v, `"`)
			}
		}
	}
	return ""
}

// Fields of Envoy's message in the cookie.
const (
	fieldAddress protowire.Number = 1
	fieldExpires protowire.Number = 2
)

// fromCookie reads the address from a cookie, "" when there is none or it has expired.
func fromCookie(v string) string {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return ""
	}
	address := ""
	for rest := b; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return string(b) // as it was written once: the bare address
		}
		rest = rest[n:]
		switch {
		case num == fieldAddress && typ == protowire.BytesType:
			s, n := protowire.ConsumeString(rest)
			if n < 0 {
				return string(b)
			}
			address, rest = s, rest[n:]
		case num == fieldExpires && typ == protowire.VarintType:
			t, n := protowire.ConsumeVarint(rest)
			if n < 0 || t != 0 && int64(t) < time.Now().Unix() {
				return ""
			}
			rest = rest[n:]
		default:
			if n = protowire.ConsumeFieldValue(num, typ, rest); n < 0 {
				return string(b)
			}
			rest = rest[n:]
		}
	}
	return address
}

func (c *config) setCookie(host netip.AddrPort) string {
	b := protowire.AppendString(protowire.AppendTag(nil, fieldAddress, protowire.BytesType), host.String())
	if c.ttl > 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldExpires, protowire.VarintType), uint64(time.Now().Add(c.ttl).Unix()))
	}
	out := c.cookie + `="` + base64.StdEncoding.EncodeToString(b) + `"`
	if c.ttl > 0 {
		out += "; Max-Age=" + strconv.FormatInt(int64(c.ttl/time.Second), 10)
	}
	if c.path != "" {
		out += "; Path=" + c.path
	}
	return out + "; HttpOnly"
}
