package http

import (
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// Reply implements filter.Stream and router.Downstream: an answer of the
// proxy's own. It passes the filters like one from upstream, unless they have
// seen one already.
func (s *call) Reply(r filter.LocalReply) {
	if s.over {
		return
	}
	s.info.Flags |= r.Flags
	if r.Details != "" {
		s.info.Details = r.Details
	}
	if s.headSent {
		s.CutResponse(s.info.Details, 0)
		return
	}
	s.rt.Abort()
	s.dropHeld()
	s.local = true
	seen := s.responded
	s.responded = true
	// What was there is left to the collector: a filter may be looking at it.
	s.resp, s.resTail = pool.GetHeaders(), nil
	s.info.Response, s.info.Trailers = s.resp, nil
	if s.m.cfg.LocalReplies != nil {
		s.mapReply(&r)
	}
	body := s.localHead(&r)
	s.info.Status = s.resp.Status
	if s.entry != nil {
		if up := &s.info.Upstream; up.Cluster == "" && s.m.cfg.Clusters.Get(s.target.Cluster) != nil {
			up.Cluster = s.target.Cluster // where the request would have gone
		}
		s.entry.RewriteResponse(s.target, s.resp, &s.info)
	}
	last := len(s.links) - 1
	if seen {
		last = -1
	}
	head := s.resp
	s.responseHeaders(last, body == "")
	if body != "" && !s.over && s.resp == head {
		s.responseData(last, []byte(body), true)
	}
}

// dropHeld forgets what filters hold: it will not be sent.
func (s *call) dropHeld() {
	for i := range s.links {
		s.links[i].req, s.links[i].res = half{}, half{}
	}
	s.held, s.heldBack = 0, 0
	if s.reqPause != 0 {
		s.pauseRequest(0xff, false)
	}
	s.pending.Reset()
	s.pendingEnd = false
}

// localHead writes the head of a local reply and returns its body.
func (s *call) localHead(r *filter.LocalReply) string {
	h := s.resp
	if s.info.GRPC {
		s.localGRPC(r)
		return ""
	}
	h.Status = r.Status
	for _, f := range r.Header {
		h.Add(f.Name, f.Value)
	}
	if r.Body == "" {
		return "" // HTTP/1 says a length by itself
	}
	h.Set("content-length", h.Keep(strconv.AppendInt(nil, int64(len(r.Body)), 10)))
	if !h.Has("content-type") {
		h.Set("content-type", "text/plain")
	}
	if s.req.Method == "HEAD" {
		return ""
	}
	return r.Body
}

// localGRPC writes it as gRPC wants it: 200 and the status as trailers that
// come as the head.
func (s *call) localGRPC(r *filter.LocalReply) {
	h := s.resp
	h.Status = 200
	h.Add("content-type", "application/grpc")
	code := r.GRPCStatus
	if code < 0 || code == 0 && r.Status != 200 {
		code = filter.GRPCOfHTTP(r.Status)
	}
	h.Add("grpc-status", strconv.Itoa(code))
	if r.Body != "" {
		h.Add("grpc-message", filter.GRPCMessage(r.Body))
	}
	for _, f := range r.Header {
		if f.Name != "content-type" && f.Name != "content-length" {
			h.Add(f.Name, f.Value)
		}
	}
}
