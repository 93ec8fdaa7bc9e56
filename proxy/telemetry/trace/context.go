package trace

import (
	"encoding/hex"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// carried is the trace context of a request, and the forms that it came in.
type carried struct {
	traceID          [16]byte
	spanID, parentID [8]byte
	sampled, decided bool
	debug            bool
	w3c, b3, b3multi bool
}

// extract reads the first context that is well formed: W3C, then B3.
func extract(h *filter.Headers) (c carried) {
	if v, ok := h.Lookup("traceparent"); ok && c.parseW3C(v) {
		c.w3c = true
	}
	if v, ok := h.Lookup("b3"); ok {
		c.b3 = true
		if !c.w3c {
			c.parseB3(v)
		}
	}
	if id, ok := h.Lookup("x-b3-traceid"); ok || h.Has("x-b3-sampled") || h.Has("x-b3-flags") {
		c.b3multi = true
		if !c.w3c && !c.b3 {
			c.parseMulti(id, h)
		}
	}
	return c
}

// parseW3C reads "00-<32 hex>-<16 hex>-<2 hex>" (W3C Trace Context, level 1);
// later versions may have more behind.
func (c *carried) parseW3C(v string) bool {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" || v[:2] == "00" && len(v) != 55 {
		return false
	}
	var flags [1]byte
	if !unhex(c.traceID[:], v[3:35]) || !unhex(c.spanID[:], v[36:52]) || !unhex(flags[:], v[53:55]) ||
		c.traceID == ([16]byte{}) || c.spanID == ([8]byte{}) {
		c.traceID, c.spanID = [16]byte{}, [8]byte{}
		return false
	}
	c.sampled, c.decided = flags[0]&1 == 1, true
	return true
}

// parseB3 reads "traceid-spanid[-sampled[-parent]]", or the decision alone.
func (c *carried) parseB3(v string) {
	parts := strings.SplitN(v, "-", 4)
	if len(parts) == 1 {
		c.decide(parts[0])
		return
	}
	if !c.ids(parts[0], parts[1]) {
		return
	}
	if len(parts) > 2 {
		c.decide(parts[2])
	}
}

func (c *carried) parseMulti(id string, h *filter.Headers) {
	if id != "" {
		c.ids(id, h.Get("x-b3-spanid"))
		unhex(c.parentID[:], h.Get("x-b3-parentspanid"))
	}
	if h.Get("x-b3-flags") == "1" {
		c.decide("d")
		return
	}
	c.decide(h.Get("x-b3-sampled"))
}

func (c *carried) decide(s string) {
	switch s {
	case "1", "true":
		c.sampled, c.decided = true, true
	case "0", "false":
		c.sampled, c.decided = false, true
	case "d":
		c.sampled, c.decided, c.debug = true, true, true
	}
}

// ids reads a trace id of 64 or 128 bits and a span id.
func (c *carried) ids(trace, span string) bool {
	var t [16]byte
	var s [8]byte
	ok := unhex(s[:], span)
	switch len(trace) {
	case 32:
		ok = ok && unhex(t[:], trace)
	case 16:
		ok = ok && unhex(t[8:], trace)
	default:
		ok = false
	}
	if ok {
		c.traceID, c.spanID = t, s
	}
	return ok
}

func unhex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// inject writes a span's context: in the tracer's form, and in those that the
// request came with, unless it is to be silent. c.spanID is the span's parent.
func (t *Tracer) inject(h *filter.Headers, tr *filter.Trace, id [8]byte, c carried) {
	if t.Silent {
		return
	}
	trace, span := hex.EncodeToString(tr.TraceID[:]), hex.EncodeToString(id[:])
	flags, decision := "-00", "0"
	if tr.Sampled {
		flags, decision = "-01", "1"
	}
	if !t.B3 || t.Both || c.w3c {
		h.Set("traceparent", "00-"+trace+"-"+span+flags)
	}
	if t.Short && traceText(tr.TraceID[:]) != trace {
		trace = trace[16:]
	}
	if c.b3 {
		if c.debug {
			decision = "d"
		}
		v := trace + "-" + span + "-" + decision
		if c.spanID != ([8]byte{}) {
			v += "-" + hex.EncodeToString(c.spanID[:])
		}
		h.Set("b3", v)
	}
	if c.b3multi || t.B3 {
		h.Set("x-b3-traceid", trace)
		h.Set("x-b3-spanid", span)
		if c.spanID != ([8]byte{}) {
			h.Set("x-b3-parentspanid", hex.EncodeToString(c.spanID[:]))
		}
		if !c.debug {
			h.Set("x-b3-sampled", decision)
		}
	}
}
