package headermutation

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// param is a query parameter, decoded.
type param struct{ name, value string }

// changeQuery applies mutations to the query of a path. As in Envoy the parameters
// come out sorted by name and decoded; only what a mutation puts there is encoded.
func changeQuery(ms []mutation, path string, info *filter.Info) []byte {
	path, query, _ := strings.Cut(path, "?")
	query, _, _ = strings.Cut(query, "#")
	ps := parseQuery(query)
	for i := range ms {
		ps = ms[i].applyQuery(ps, info)
	}
	slices.SortStableFunc(ps, func(a, b param) int { return strings.Compare(a.name, b.name) })
	b := []byte(path)
	sep := byte('?')
	for _, p := range ps {
		b = append(b, sep)
		b = append(append(append(b, p.name...), '='), p.value...)
		sep = '&'
	}
	return b
}

func parseQuery(q string) []param {
	var ps []param
	for part := range strings.SplitSeq(q, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		ps = append(ps, param{decode(name), decode(value)})
	}
	return ps
}

func (m *mutation) applyQuery(ps []param, info *filter.Info) []param {
	has := func(p param) bool { return p.name == m.name }
	if m.kind == remove {
		return slices.DeleteFunc(ps, has)
	}
	v := m.text
	if m.format != nil {
		v = string(m.format.Append(nil, info))
	}
	there := slices.ContainsFunc(ps, has)
	if m.kind == setIfPresent && !there || m.kind == addIfAbsent && there {
		return ps
	}
	if m.kind == set || m.kind == setIfPresent {
		ps = slices.DeleteFunc(ps, has)
	}
	return append(ps, param{m.name, string(appendEncoded(nil, v))})
}

// decode takes percent-encoding off; what is not one stays as it is.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi < 16 && lo < 16 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

func appendEncoded(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}
