package http

import (
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// The way of the response: from the router (or Reply) through the filters,
// backwards, to the client.

// Lane implements router.Downstream.
func (s *call) Lane() *pool.Lane { return &s.c.lane }

// Now implements router.Downstream.
func (s *call) Now() time.Time { return s.c.lane.Now() }

// Arm implements router.Downstream.
func (s *call) Arm(t time.Time) { s.c.arm(t) }

// RespondInterim implements router.Downstream.
func (s *call) RespondInterim(h *filter.Headers) {
	if s.over || s.headSent || h.Status != 100 || !s.m.cfg.Proxy100Continue {
		return
	}
	s.c.cd.Interim(s.id, h)
}

// RespondHeaders implements router.Downstream.
func (s *call) RespondHeaders(h *filter.Headers, end bool) {
	if s.over || s.local {
		pool.PutHeaders(h)
		return
	}
	s.moved = s.c.lane.Now()
	s.resp, s.responded = h, true
	s.info.Response, s.info.Status = h, h.Status
	s.responseHeaders(len(s.links)-1, end)
}

// RespondData implements router.Downstream.
func (s *call) RespondData(b []byte, end bool) {
	if s.over || s.local {
		return
	}
	s.moved = s.c.lane.Now()
	s.responseData(len(s.links)-1, b, end)
}

// RespondTrailers implements router.Downstream.
func (s *call) RespondTrailers(h *filter.Headers) {
	if s.over || s.local {
		pool.PutHeaders(h)
		return
	}
	s.moved = s.c.lane.Now()
	s.resTail = h
	s.info.Trailers = h
	s.responseTrailers(len(s.links) - 1)
}

// sendHead sends the response's head.
func (s *call) sendHead(end bool) {
	h := s.resp
	s.finishResponse(h)
	s.info.Status = h.Status
	s.info.ResponseStart = max(s.c.lane.Now().Sub(s.info.Start), 1)
	s.headSent = true
	if s.upgrade != "" && !s.local && (h.Status == 101 || s.upgrade == "CONNECT" && h.Status/100 == 2) {
		s.tunnel = true
		s.m.stats.CxUpgradesTotal.Add(1)
		s.m.stats.CxUpgradesActive.Add(1)
		if s.m.cfg.LogTunnel {
			s.log(filter.EventTunnel)
		}
		end = false
	}
	if !s.c.two && !s.tunnel && (s.upgrade != "" || !s.reqEnd || s.local && h.Status == 400) {
		s.c.cd.GoAway(true) // the rest of the request is not waited for; a bad request may have hidden another
	}
	s.c.cd.Headers(s.id, h, end)
	s.measured()
	if s.tunnel && !s.c.two {
		s.c.again = true // bytes that came with the request wait in the codec
	}
	if end {
		s.responseOut()
	}
}

// sendData sends a piece of the body, or keeps what the client's window does not take.
func (s *call) sendData(b []byte, end bool) {
	s.info.Sent += uint64(len(b))
	if s.pending.Len() == 0 {
		b = b[s.c.cd.Data(s.id, b, end):]
		if len(b) == 0 {
			if end {
				s.responseOut()
			}
			return
		}
	}
	s.pending.Append(b)
	s.pendingEnd = s.pendingEnd || end
	if s.pending.Len() > stream.LowWater {
		s.pauseResponse(pauseWindow, true)
	}
}

// push goes on sending when the client's window has opened.
func (s *call) push() {
	if s.over || s.pending.Len() == 0 {
		return
	}
	s.moved = s.c.lane.Now()
	s.pending.Drop(s.c.cd.Data(s.id, s.pending.Bytes(), s.pendingEnd))
	switch {
	case s.pending.Len() > stream.LowWater/2:
	case s.pending.Len() > 0 || !s.pendingEnd && (s.resTail == nil || !s.resEnd):
		s.pauseResponse(pauseWindow, false) // while the rest goes out, more comes
	case s.pendingEnd:
		s.responseOut()
	default:
		s.resEnd = false
		s.sendTrailers()
	}
}

// sendTrailers ends the response.
func (s *call) sendTrailers() {
	if s.pending.Len() > 0 {
		s.resEnd = true // push comes back
		return
	}
	s.c.cd.Trailers(s.id, s.resTail)
	s.responseOut()
}

// responseOut is called when the response has been given to the codec whole.
func (s *call) responseOut() {
	s.resEnd = true
	if s.tunnel && !s.reqEnd {
		if !s.c.two {
			s.c.write()
			s.c.c.CloseWrite()
		}
		return
	}
	s.finish()
}

// CutResponse implements router.Downstream.
func (s *call) CutResponse(details string, flags filter.ResponseFlags) {
	if s.over {
		return
	}
	s.info.Flags |= flags
	s.info.Details = details
	if !s.headSent {
		// Filters hold the head: the client can still be told.
		s.Reply(filter.LocalReply{Status: 503, GRPCStatus: -1, Details: details})
		return
	}
	s.m.stats.RqTxReset.Add(1)
	s.c.cd.Reset(s.id, codec.ResetInternal)
	s.reqEnd = true // nothing is left to be reset
	s.finish()
}

// finishResponse makes a response's head the proxy's own: the last step before
// it is sent.
func (s *call) finishResponse(h *filter.Headers) {
	cfg := &s.m.cfg
	if cfg.Messages != nil {
		return
	}
	switch cfg.ServerHeader {
	case ServerOverwrite:
		h.Set("server", cfg.ServerName)
	case ServerAppendIfAbsent:
		if !h.Has("server") {
			h.Add("server", cfg.ServerName)
		}
	}
	if !h.Has("date") {
		h.Add("date", dateText(s.c.lane.Now()))
	}
	h.Del("x-envoy-decorator-operation")
	if cfg.RequestIDInResponse && s.info.RequestID != "" {
		h.Set("x-request-id", s.info.RequestID)
	}
	if cfg.Via != "" {
		appendTo(h, "via", cfg.Via, ", ")
	}
}
