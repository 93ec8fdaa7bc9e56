package route

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// compileRegexRewrite turns RE2's substitution (\1, \\) into Go's (${1}).
func compileRegexRewrite(r *RegexRewrite) (*regexRewrite, error) {
	re, err := regexp.Compile(r.Pattern)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w (RE2 syntax)", r.Pattern, err)
	}
	var to strings.Builder
	for i := 0; i < len(r.Substitution); i++ {
		switch c := r.Substitution[i]; c {
		case '$':
			to.WriteString("$$")
		case '\\':
			i++
			switch {
			case i < len(r.Substitution) && r.Substitution[i] == '\\':
				to.WriteByte('\\')
			case i < len(r.Substitution) && '0' <= r.Substitution[i] && r.Substitution[i] <= '9':
				group := int(r.Substitution[i] - '0')
				if group > re.NumSubexp() {
					return nil, fmt.Errorf("substitution %q: regex %q has no group %d", r.Substitution, r.Pattern, group)
				}
				fmt.Fprintf(&to, "${%d}", group)
			default:
				return nil, fmt.Errorf("substitution %q: a backslash must be followed by a digit or a backslash", r.Substitution)
			}
		default:
			to.WriteByte(c)
		}
	}
	return &regexRewrite{re, to.String()}, nil
}

func (r *regexRewrite) apply(s string) string { return r.re.ReplaceAllString(s, r.to) }

// pathRewrite changes a request's path; the zero value leaves it.
type pathRewrite struct {
	prefix string // replaces the first cut bytes, or all of the path when cut is negative
	cut    int
	regex  *regexRewrite
	by     *templateRewrite
	active bool
}

func compilePath(prefix string, regex *RegexRewrite, r *Route) (p pathRewrite, err error) {
	switch {
	case prefix != "" && regex != nil:
		return p, fmt.Errorf("a prefix rewrite and a regex rewrite at once")
	case prefix != "":
		p = pathRewrite{prefix: prefix, cut: -1, active: true}
		if r.Match.PathKind == PathPrefix || r.Match.PathKind == PathSeparatedPrefix {
			p.cut = len(r.Match.Path)
		}
	case regex != nil:
		p.active = true
		if p.regex, err = compileRegexRewrite(regex); err != nil {
			return p, fmt.Errorf("regex rewrite: %w", err)
		}
	}
	return p, nil
}

// appendTo appends the new form of path.
func (p *pathRewrite) appendTo(dst []byte, path string) []byte {
	only := pathOnly(path)
	switch {
	case p.by != nil:
		dst = p.by.appendTo(dst, only)
		return append(dst, path[len(only):]...)
	case p.regex != nil:
		dst = append(dst, p.regex.apply(only)...)
		return append(dst, path[len(only):]...)
	case p.cut < 0:
		dst = append(dst, p.prefix...)
		return append(dst, path[len(only):]...)
	default:
		dst = append(dst, p.prefix...)
		return append(dst, path[min(p.cut, len(only)):]...)
	}
}

func (p *pathRewrite) apply(h *filter.Headers, info *filter.Info) {
	if !p.active || h.Path == "" {
		return
	}
	var buf [512]byte
	old := h.Path
	b := p.appendTo(buf[:0], old)
	h.Set("x-envoy-original-path", old)
	if info != nil {
		info.OriginalPath = old
	}
	h.Path = h.Keep(b)
}

func compileHost(r *HostRewrite) (*regexRewrite, error) {
	kinds := 0
	for _, set := range []bool{r.Literal != "", r.Auto, r.Header != "", r.PathRegex != nil} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		return nil, fmt.Errorf("host rewrite: more than one of literal, automatic, header and path regex")
	}
	if r.PathRegex == nil {
		return nil, nil //nolint:nilnil // none asked for
	}
	re, err := compileRegexRewrite(r.PathRegex)
	if err != nil {
		return nil, fmt.Errorf("host rewrite by path: %w", err)
	}
	return re, nil
}

func (e *Entry) rewriteHost(c *option, r *HostRewrite, h *filter.Headers) {
	switch {
	case c.host != "":
		appendForwardedHost(h, r.AppendForwardedHost)
		h.Authority = c.host
	case r.Literal != "":
		setAuthority(h, r.Literal, r.AppendForwardedHost)
	case r.Header != "":
		if v := h.Get(strings.ToLower(r.Header)); v != "" {
			setAuthority(h, v, r.AppendForwardedHost)
		}
	case e.hostRegex != nil:
		setAuthority(h, e.hostRegex.apply(pathOnly(h.Path)), r.AppendForwardedHost)
	}
}

// AutoHost sets the authority to the endpoint's host name when the route asks for it.
func (e *Entry) AutoHost(h *filter.Headers, hostname string) {
	if f := e.route.Forward; f != nil && f.Host.Auto && hostname != "" {
		setAuthority(h, hostname, f.Host.AppendForwardedHost)
	}
}

func setAuthority(h *filter.Headers, to string, appendOld bool) {
	appendForwardedHost(h, appendOld)
	if h.Authority != "" {
		h.Set("x-envoy-original-host", h.Authority)
	}
	h.Authority = to
}

func appendForwardedHost(h *filter.Headers, wanted bool) {
	if !wanted || h.Authority == "" {
		return
	}
	old, _ := h.Joined("x-forwarded-host")
	b := h.Buffer()
	if old != "" {
		b = append(append(b, old...), ',')
	}
	h.Set("x-forwarded-host", h.Kept(append(b, h.Authority...)))
}
