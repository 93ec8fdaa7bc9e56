package route

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// redirect is a compiled Redirect.
type redirect struct {
	spec   *Redirect
	status int
	port   string // ":8443", "" when it stays
	path   pathRewrite
}

func (r *redirect) compile(s *Redirect, m *Match) error {
	r.spec, r.status = s, s.Status
	switch s.Status {
	case 0:
		r.status = http.StatusMovedPermanently
	case 301, 302, 303, 307, 308:
	default:
		return fmt.Errorf("status %d is not one of 301, 302, 303, 307 and 308", s.Status)
	}
	if s.HTTPS && s.Scheme != "" {
		return fmt.Errorf("https and scheme %q at once", s.Scheme)
	}
	if s.Port != 0 {
		r.port = ":" + strconv.Itoa(int(s.Port))
	}
	if s.Path != "" && (s.PrefixRewrite != "" || s.RegexRewrite != nil) {
		return fmt.Errorf("a path and a rewrite at once")
	}
	var err error
	r.path, err = compilePath(s.PrefixRewrite, s.RegexRewrite, &Route{Match: *m})
	return err
}

// location builds the location in h's memory.
func (r *redirect) location(h *filter.Headers) string {
	var buf [512]byte
	b := buf[:0]
	was, ok := h.Lookup("x-forwarded-proto")
	if !ok {
		was = h.Scheme
	}
	scheme := was
	switch {
	case r.spec.HTTPS:
		scheme = "https"
	case r.spec.Scheme != "":
		scheme = r.spec.Scheme
	case scheme == "":
		scheme = "http"
	}
	b = append(b, scheme...)
	b = append(b, "://"...)
	b = append(b, r.host(h.Authority, was, scheme)...)
	b = append(b, r.port...)
	return h.Keep(r.appendPath(b, h.Path))
}

// host is the new host without the new port: a port of the request is dropped
// when a new one is given, or when it was the default of the old scheme.
func (r *redirect) host(authority, was, scheme string) string {
	if r.spec.Host != "" {
		return r.spec.Host
	}
	bare := withoutPort(authority)
	if r.port != "" {
		return bare
	}
	if was != scheme {
		if p := authority[len(bare):]; was != "https" && p == ":80" || was == "https" && p == ":443" {
			return bare
		}
	}
	return authority
}

func (r *redirect) appendPath(b []byte, path string) []byte {
	if r.spec.StripQuery {
		path = pathOnly(path)
	}
	switch {
	case r.spec.Path != "":
		b = append(b, r.spec.Path...)
		if !strings.Contains(r.spec.Path, "?") {
			b = append(b, path[len(pathOnly(path)):]...)
		}
		return b
	case r.path.active:
		return r.path.appendTo(b, path)
	default:
		return append(b, path...)
	}
}
