package envoy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// message is an HTTP/1 message as it was on the wire, read leniently: what a
// proxy sends is looked at, not judged.
type message struct {
	start    string
	headers  []field
	framing  string // none, length, chunked, close
	body     []byte
	trailers []field
	complete bool
	raw      bool // the rest of the connection is no longer HTTP
}

type field struct{ name, value string }

// parseMessage reads one message; n is what it took. A response needs the
// method that was asked for. ended: no more bytes will come.
func parseMessage(b []byte, method string, response, ended bool) (m message, n int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return message{start: fmt.Sprintf("unfinished head %q", b)}, len(b)
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	m.start, m.headers, m.framing = lines[0], parseFields(lines[1:]), "none"
	n = end + 4
	status := ""
	if p := strings.SplitN(m.start, " ", 3); response && len(p) > 1 {
		status = p[1]
	}
	switch {
	case status == "101", method == "CONNECT" && strings.HasPrefix(status, "2"):
		m.raw, m.complete = true, true
		return m, n
	case strings.HasPrefix(status, "1"), status == "204", status == "304", method == "HEAD" && response:
		m.complete = true
		return m, n
	}
	if strings.Contains(strings.ToLower(m.get("transfer-encoding")), "chunked") {
		m.framing = "chunked"
		return m.chunks(b, n)
	}
	if l := m.get("content-length"); l != "" {
		want, err := strconv.Atoi(l)
		m.framing, m.complete = "length", err == nil && len(b)-n >= want
		m.body = b[n:min(len(b), n+max(want, 0))]
		return m, n + len(m.body)
	}
	if response {
		m.framing, m.body, m.complete = "close", b[n:], ended
		return m, len(b)
	}
	m.complete = true
	return m, n
}

func (m message) chunks(b []byte, n int) (message, int) {
	for {
		size, _, ok := bytes.Cut(b[n:], []byte("\r\n"))
		v, err := strconv.ParseInt(string(size), 16, 64)
		if !ok || err != nil {
			return m, len(b)
		}
		n += len(size) + 2
		if v > 0 {
			if int64(len(b)-n) < v+2 {
				return m, len(b)
			}
			m.body = append(m.body[:len(m.body):len(m.body)], b[n:n+int(v)]...)
			n += int(v) + 2
			continue
		}
		if bytes.HasPrefix(b[n:], []byte("\r\n")) {
			m.complete = true
			return m, n + 2
		}
		end := bytes.Index(b[n:], []byte("\r\n\r\n"))
		if end < 0 {
			return m, len(b)
		}
		m.trailers, m.complete = parseFields(strings.Split(string(b[n:n+end]), "\r\n")), true
		return m, n + end + 4
	}
}

func parseFields(lines []string) []field {
	var out []field
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		out = append(out, field{name, strings.TrimPrefix(value, " ")})
	}
	return out
}

func (m *message) get(name string) string {
	for _, f := range m.headers {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

func (m *message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s", m.start, showFields(m.headers))
	switch {
	case !m.complete:
		b.WriteString("  (incomplete)\n")
	case m.framing != "none":
		fmt.Fprintf(&b, "  (%s) %s\n", m.framing, showBytes(m.body))
	}
	if len(m.trailers) > 0 {
		b.WriteString("  trailers\n" + showFields(m.trailers))
	}
	return b.String()
}

// showFields sorts by name: order between fields has no meaning, order between
// lines of one name has.
func showFields(list []field) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "  %s: %s\n", f.name, normalValue(strings.ToLower(f.name), f.value))
	}
	return b.String()
}

func showBytes(b []byte) string {
	if len(b) > 300 {
		return fmt.Sprintf("%d bytes, %q..., sha256 %x", len(b), b[:40], sha256.Sum256(b))
	}
	return strconv.Quote(string(b))
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

var hash = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

// normalValue hides what differs from run to run.
func normalValue(name, value string) string {
	if len(value) > 300 {
		return showBytes([]byte(value))
	}
	if n, err := strconv.Atoi(value); name == "x-envoy-expected-rq-timeout-ms" && err == nil {
		return strconv.Itoa((n + 499) / 500 * 500) // later tries have a little less
	}
	switch {
	case name == "date" && value != "", name == "x-envoy-upstream-service-time" && value != "":
		return "(normal)"
	case name == "x-request-id" && uuid.MatchString(value):
		return "(uuid)"
	case name == "set-cookie": // a hash of addresses, which differ
		return hash.ReplaceAllString(value, "(hash)")
	}
	return value
}
