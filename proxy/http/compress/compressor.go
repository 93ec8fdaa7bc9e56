package compress

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// defaultTypes are Envoy's.
var defaultTypes = []string{
	"text/html", "text/plain", "text/css", "application/javascript", "application/x-javascript", "text/javascript", "text/x-javascript",
	"text/ecmascript", "text/js", "text/jscript", "text/x-js", "application/ecmascript", "application/x-json", "application/xml",
	"application/json", "image/svg+xml", "text/xml", "application/xhtml+xml",
}

// direction says what is compressed, and counts it.
type direction struct {
	enabled runtime.Flag
	min     uint64
	types   []string

	compressed, not, before, after, small *filter.Counter
}

func (d *direction) count(ctx *filter.ParseContext, prefix string) {
	d.compressed, d.not = ctx.Counter(prefix+"compressed"), ctx.Counter(prefix+"not_compressed")
	d.before, d.after = ctx.Counter(prefix+"total_uncompressed_bytes"), ctx.Counter(prefix+"total_compressed_bytes")
	d.small = ctx.Counter(prefix + "content_length_too_small")
}

// long enough to be worth it; what has no length is.
func (d *direction) long(h *filter.Headers) bool {
	v, ok := h.Lookup("content-length")
	if !ok {
		return true
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n >= d.min {
		return true
	}
	d.small.Add(1)
	return false
}

func (d *direction) typeAllowed(h *filter.Headers) bool {
	v, ok := h.Lookup("content-type")
	if !ok {
		return true
	}
	v, _, _ = strings.Cut(v, ";")
	return slices.Contains(d.types, strings.TrimSpace(v))
}

// compressor is the filter's configuration.
type compressor struct {
	name              string
	library           *library
	first             bool
	request, response direction

	etagOff, weaken, dropAccept bool
	codesOff                    []int

	noAccept, identity, used, overshadowed, wildcard, invalid, etag *filter.Counter
}

func (f *compressor) countChoice(ctx *filter.ParseContext, prefix string) {
	f.noAccept, f.identity = ctx.Counter(prefix+"no_accept_header"), ctx.Counter(prefix+"header_identity")
	f.used, f.overshadowed = ctx.Counter(prefix+"header_compressor_used"), ctx.Counter(prefix+"header_compressor_overshadowed")
	f.wildcard, f.invalid = ctx.Counter(prefix+"header_wildcard"), ctx.Counter(prefix+"header_not_valid")
	f.etag = ctx.Counter(prefix + "not_compressed_etag")
}

// New implements filter.HTTPFactory.
func (f *compressor) New(filter.Stream) filter.HTTPFilter { return &compression{f: f} }

// compression is the filter of one stream.
type compression struct {
	filter.PassThrough
	f        *compressor
	accept   string
	accepts  bool
	enabled  bool // of responses
	up, down *encoder
}

// RequestHeaders remembers what the client accepts and begins to compress the request.
func (x *compression) RequestHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	f := x.f
	drop := f.dropAccept
	x.enabled = f.response.enabled.On()
	if r, ok := s.RouteConfig(f.name).(*perRoute); ok {
		if r.enabled != nil {
			x.enabled = *r.enabled
		}
		if r.dropAccept != nil {
			drop = *r.dropAccept
		}
	}
	x.accept, x.accepts = h.Joined("accept-encoding")
	c := chainOf(s.Info())
	c.list = append(c.list, f) // also when it is off for this route, as in Envoy
	if x.enabled && drop {
		h.Del("accept-encoding")
	}
	d := &f.request
	if end || !d.enabled.On() || !d.long(h) || !d.typeAllowed(h) || h.Has("content-encoding") {
		d.not.Add(1)
		return filter.Continue
	}
	h.Del("content-length")
	h.Set("content-encoding", f.library.coding)
	d.compressed.Add(1)
	x.up = f.library.encoder()
	return filter.Continue
}

// RequestData compresses.
func (x *compression) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.up == nil {
		return filter.Continue
	}
	x.pass(s, x.up, filter.ToUpstream, piece{b, end, end})
	return filter.Stop
}

// RequestTrailers ends the body.
func (x *compression) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.up != nil {
		x.pass(s, x.up, filter.ToUpstream, piece{last: true})
	}
	return filter.Continue
}

// ResponseHeaders decides whether to compress.
func (x *compression) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	f, d := x.f, &x.f.response
	worth := x.enabled && d.long(h)
	possible := worth && d.typeAllowed(h) && !hasToken(h, "cache-control", "no-transform") && x.etagAllowed(h) &&
		!h.Has("content-encoding") && !slices.Contains(f.codesOff, h.Status)
	if !end && worth && x.wanted(s, h) && possible {
		x.sanitizeEtag(h)
		h.Del("content-length")
		h.Set("content-encoding", f.library.coding)
		d.compressed.Add(1)
		x.down = f.library.encoder()
	} else {
		d.not.Add(1)
	}
	if possible {
		vary(h)
	}
	return filter.Continue
}

// wanted tells whether the client's wish leads to this compressor.
func (x *compression) wanted(s filter.Stream, h *filter.Headers) bool {
	f := x.f
	if !x.accepts {
		f.noAccept.Add(1)
		return false
	}
	c := chainOf(s.Info())
	if c.choice == nil {
		made := c.choose(x.accept, h)
		c.choice = &made
	}
	mine := c.choice.coding == f.library.coding
	switch {
	case c.choice.why == notValid:
		f.invalid.Add(1)
	case c.choice.why == byIdentity:
		f.identity.Add(1)
	case c.choice.why == byWildcard:
		f.wildcard.Add(1)
	case mine:
		f.used.Add(1)
	default:
		f.overshadowed.Add(1)
	}
	return mine
}

func (x *compression) etagAllowed(h *filter.Headers) bool {
	if !x.f.etagOff || !h.Has("etag") {
		return true
	}
	x.f.etag.Add(1)
	return false
}

// sanitizeEtag removes a strong tag, or weakens it: the bytes are others now.
func (x *compression) sanitizeEtag(h *filter.Headers) {
	v, ok := h.Lookup("etag")
	if !ok || strings.HasPrefix(v, "W/") || strings.HasPrefix(v, "w/") {
		return
	}
	if x.f.weaken {
		h.Set("etag", "W/"+v)
	} else {
		h.Del("etag")
	}
}

func vary(h *filter.Headers) {
	v, ok := h.Joined("vary")
	switch {
	case !ok || v == "":
		h.Set("vary", "Accept-Encoding")
	case !hasToken(h, "vary", "accept-encoding"):
		h.Set("vary", v+", Accept-Encoding")
	}
}

// ResponseData compresses.
func (x *compression) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.down == nil {
		return filter.Continue
	}
	x.pass(s, x.down, filter.ToDownstream, piece{b, end, end})
	return filter.Stop
}

// ResponseTrailers ends the body.
func (x *compression) ResponseTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.down != nil {
		x.pass(s, x.down, filter.ToDownstream, piece{last: true})
	}
	return filter.Continue
}

// piece of a body. last: it is the body's last; end: nothing follows at all.
type piece struct {
	b         []byte
	last, end bool
}

func (x *compression) pass(s filter.Stream, e *encoder, d filter.Direction, p piece) {
	c := &x.f.request
	if d == filter.ToDownstream {
		c = &x.f.response
	}
	out := e.encode(p.b, p.last)
	c.before.Add(uint64(len(p.b)))
	c.after.Add(uint64(len(out)))
	if len(out) > 0 || p.end {
		s.Inject(x, d, out, p.end)
	}
}

// Done gives the encoders back.
func (x *compression) Done(filter.Stream) {
	for _, e := range []*encoder{x.up, x.down} {
		if e != nil {
			x.f.library.put(e)
		}
	}
	x.up, x.down = nil, nil
}
