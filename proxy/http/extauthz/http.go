package extauthz

import (
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// httpService asks by a request like the one that it is about.
type httpService struct {
	calls          filter.Caller
	cluster, host  string
	timeout        time.Duration
	prefix, path   string // path, when set, is used instead of the request's
	request        *route.Strings
	add            []filter.Field
	upstream       *route.Strings // headers of an answer that go to the upstream
	upstreamAppend *route.Strings
	client         *route.Strings // to the client with a denial; nil: all
	clientSuccess  *route.Strings
	metadata       *route.Strings
}

// always are headers that the server sees whatever is allowed.
func always(name string) bool { return name == "authorization" || strings.HasPrefix(name, ":") }

func (c *httpService) check(q *question, done func(*decision)) (cancel func()) {
	from := q.s.Request()
	h := &filter.Headers{Method: from.Method, Authority: c.host, Path: c.prefix + from.Path}
	if from.Authority != "" {
		h.Authority = strings.Clone(from.Authority)
	}
	if c.path != "" {
		h.Path = c.path
	}
	h.Add("content-length", strconv.Itoa(len(q.body)))
	for i := range from.Len() {
		f := from.At(i)
		if skipped(f.Name) || !q.cfg.sees(f.Name) {
			continue
		}
		h.Add(strings.Clone(f.Name), strings.Clone(f.Value))
	}
	for _, f := range c.add {
		h.Set(f.Name, f.Value)
	}
	if q.buffered {
		h.Set(partialHeader, strconv.FormatBool(q.partial))
	}
	call := &filter.Call{Cluster: c.cluster, Header: h, Body: q.body, Timeout: c.timeout}
	return c.calls.Call(call, func(a *filter.Answer, err error) {
		if err != nil {
			done(&decision{})
			return
		}
		done(c.read(a))
	})
}

// sees tells whether servers may see a header. The filter says so, also for the
// services of routes: one that asks over HTTP shows those of the usual list, and what its
// allowed_headers or the service's own (only one is set) name.
func (c *config) sees(name string) bool {
	h, ok := c.checker.(*httpService)
	if !ok {
		return (c.allow == nil || c.allow.Any(name)) && !matches(c.disallow, name)
	}
	allow := h.request
	if allow == nil {
		allow = c.allow
	}
	return (always(name) || matches(allow, name)) && !matches(c.disallow, name)
}

// skipped are headers of the connection, not of the message.
func skipped(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "te", "upgrade", "expect":
		return true
	}
	return false
}

const removing = "x-envoy-auth-headers-to-remove"

// read makes a decision of an answer: 200 allows, 5xx is no decision.
func (c *httpService) read(a *filter.Answer) *decision {
	h := a.Header
	switch {
	case h.Status >= 500:
		return &decision{}
	case h.Status != 200:
		return c.deny(a)
	}
	d := &decision{kind: allowed}
	for i := range h.Len() {
		f := h.At(i)
		if f.Name == removing {
			for name := range strings.SplitSeq(f.Value, ",") {
				d.remove = append(d.remove, strings.TrimSpace(name))
			}
			continue
		}
		if matches(c.upstream, f.Name) {
			d.request = append(d.request, change{f.Name, f.Value, set})
		}
		if matches(c.upstreamAppend, f.Name) {
			d.request = append(d.request, change{f.Name, f.Value, add})
		}
		if matches(c.clientSuccess, f.Name) {
			d.response = append(d.response, change{f.Name, f.Value, add})
		}
		c.take(d, f)
	}
	return d
}

func matches(m *route.Strings, name string) bool { return m != nil && m.Any(name) }

func (c *httpService) take(d *decision, f filter.Field) {
	if matches(c.metadata, f.Name) {
		if d.metadata == nil {
			d.metadata = map[string]any{}
		}
		d.metadata[f.Name] = f.Value
	}
}

func (c *httpService) deny(a *filter.Answer) *decision {
	d := &decision{kind: denied, status: a.Header.Status, body: string(a.Body)}
	d.shown = []filter.Field{{Name: ":status", Value: strconv.Itoa(d.status)}}
	for i := range a.Header.Len() {
		f := a.Header.At(i)
		c.take(d, f)
		if f.Name == "content-length" {
			d.shown = append(d.shown, f)
		}
		if skipped(f.Name) || f.Name == removing {
			continue
		}
		if c.client == nil || c.client.Any(f.Name) || f.Name == "www-authenticate" || f.Name == "location" {
			d.reply, d.shown = append(d.reply, f), append(d.shown, f)
		}
	}
	return d
}
