package compress

import (
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// plainWay is one direction of a decompressor.
type plainWay struct {
	on                       runtime.Flag
	always                   bool
	decompressed, not        *filter.Counter
	compressedB, uncompressB *filter.Counter
}

func (w *plainWay) count(ctx *filter.ParseContext, prefix string) {
	w.decompressed, w.not = ctx.Counter(prefix+"decompressed"), ctx.Counter(prefix+"not_decompressed")
	w.compressedB, w.uncompressB = ctx.Counter(prefix+"total_compressed_bytes"), ctx.Counter(prefix+"total_uncompressed_bytes")
}

// decompressor is the filter's configuration.
type decompressor struct {
	library           *library
	ratio             uint64
	advertise         bool
	trailer           string // prefix of the trailers that tell the bytes
	request, response plainWay
}

// New implements filter.HTTPFactory.
func (f *decompressor) New(filter.Stream) filter.HTTPFilter { return &decompression{f: f} }

type decompression struct {
	filter.PassThrough
	f        *decompressor
	up, down *decoder
}

// RequestHeaders begins to decompress, and tells the upstream what it may send.
func (x *decompression) RequestHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	f := x.f
	if f.response.on.On() && f.advertise {
		f.accept(h)
	}
	x.up = f.begin(&f.request, h, end)
	return filter.Continue
}

// accept adds the coding to Accept-Encoding.
func (f *decompressor) accept(h *filter.Headers) {
	const name = "accept-encoding"
	old, _ := h.Joined(name)
	var list []string
	for part := range strings.SplitSeq(old, ",") {
		if coding, _, ok := parseWish(part); ok && coding != f.library.coding {
			list = append(list, strings.TrimSpace(part))
		}
	}
	h.Set(name, strings.Join(append(list, f.library.coding), ","))
}

// begin makes a decoder if the body has the coding; nil: it has not.
func (f *decompressor) begin(w *plainWay, h *filter.Headers, end bool) *decoder {
	coding, _ := h.Joined("content-encoding")
	first, rest, _ := strings.Cut(coding, ",")
	if end || !w.on.On() || !strings.EqualFold(strings.TrimSpace(first), f.library.coding) ||
		!w.always && hasToken(h, "cache-control", "no-transform") {
		if !end {
			w.not.Add(1)
		}
		return nil
	}
	w.decompressed.Add(1)
	h.Del("content-length")
	if rest = strings.TrimSpace(rest); rest == "" {
		h.Del("content-encoding")
	} else {
		h.Set("content-encoding", rest)
	}
	return f.library.decoder(f.ratio)
}

// RequestData decompresses.
func (x *decompression) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.up == nil {
		return filter.Continue
	}
	if err := x.pass(s, filter.ToUpstream, b, end); err != nil {
		s.Reply(filter.LocalReply{Status: 400, GRPCStatus: -1, Body: "the body does not decompress", Details: "decompression_failed"})
		return filter.Reply
	}
	if end {
		s.InjectTrailers(x, filter.ToUpstream, x.told(x.up))
	}
	return filter.Stop
}

// RequestTrailers ends the body.
func (x *decompression) RequestTrailers(s filter.Stream, h *filter.Headers) filter.Verdict {
	if x.up == nil {
		return filter.Continue
	}
	if err := x.pass(s, filter.ToUpstream, nil, true); err != nil {
		s.Reply(filter.LocalReply{Status: 400, GRPCStatus: -1, Body: "the body does not decompress", Details: "decompression_failed"})
		return filter.Reply
	}
	for _, f := range x.told(x.up) {
		h.Set(f.Name, f.Value)
	}
	return filter.Continue
}

// ResponseHeaders begins to decompress.
func (x *decompression) ResponseHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	x.down = x.f.begin(&x.f.response, h, end)
	return filter.Continue
}

// ResponseData decompresses.
func (x *decompression) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.down == nil {
		return filter.Continue
	}
	if err := x.pass(s, filter.ToDownstream, b, end); err != nil {
		// The head may be out: then the response is cut off.
		s.Reply(filter.LocalReply{Status: 502, GRPCStatus: -1, Details: "decompression_failed"})
		return filter.Reply
	}
	if end {
		s.InjectTrailers(x, filter.ToDownstream, x.told(x.down))
	}
	return filter.Stop
}

// ResponseTrailers ends the body.
func (x *decompression) ResponseTrailers(s filter.Stream, h *filter.Headers) filter.Verdict {
	if x.down == nil {
		return filter.Continue
	}
	if err := x.pass(s, filter.ToDownstream, nil, true); err != nil {
		s.Reply(filter.LocalReply{Status: 502, GRPCStatus: -1, Details: "decompression_failed"})
		return filter.Reply
	}
	for _, f := range x.told(x.down) {
		h.Set(f.Name, f.Value)
	}
	return filter.Continue
}

// pass decodes a piece and sends what comes out.
func (x *decompression) pass(s filter.Stream, d filter.Direction, b []byte, end bool) error {
	dec, w := x.up, &x.f.request
	if d == filter.ToDownstream {
		dec, w = x.down, &x.f.response
	}
	before := dec.to
	err := dec.decode(b, end, func(p []byte) { s.Inject(x, d, p, false) })
	w.compressedB.Add(uint64(len(b)))
	w.uncompressB.Add(dec.to - before)
	return err
}

// told are the trailers that say how large the body was and is.
func (x *decompression) told(d *decoder) []filter.Field {
	return []filter.Field{
		{Name: x.f.trailer + "compressed-bytes", Value: strconv.FormatUint(d.from, 10)},
		{Name: x.f.trailer + "uncompressed-bytes", Value: strconv.FormatUint(d.to, 10)},
	}
}

// Done ends the coroutines.
func (x *decompression) Done(filter.Stream) {
	for _, d := range []*decoder{x.up, x.down} {
		if d != nil {
			d.stop()
		}
	}
	x.up, x.down = nil, nil
}
