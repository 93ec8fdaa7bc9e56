package http

import (
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/route"
)

// ReplyBody formats the body of the proxy's own answers; exactly one of Text and JSON is set.
type ReplyBody struct {
	Text *format.Format
	JSON *format.JSON
	// ContentType "": text/plain or application/json.
	ContentType string
}

// ReplyMapper changes those answers that it is for.
type ReplyMapper struct {
	When func(*filter.Info) bool
	// Status 0 and a nil Text leave status and body as they are.
	Status  int
	Text    *string
	Headers *route.HeaderChanges
	// Body nil: that of all.
	Body *ReplyBody
}

// LocalReplies say how the proxy's own answers look. The first mapper that is
// for an answer changes it.
type LocalReplies struct {
	Mappers []ReplyMapper
	Body    *ReplyBody
}

// mapReply changes r, and adds headers to the response, which is empty yet.
func (s *call) mapReply(r *filter.LocalReply) {
	all := s.m.cfg.LocalReplies
	s.info.Status, s.info.LocalBody = r.Status, r.Body
	body := all.Body
	for i := range all.Mappers {
		m := &all.Mappers[i]
		if !m.When(&s.info) {
			continue
		}
		m.Headers.Apply(s.resp, &s.info) // which see the old status, as in Envoy
		if m.Status != 0 {
			r.Status, s.info.Status = m.Status, m.Status
		}
		if m.Text != nil {
			r.Body, s.info.LocalBody = *m.Text, *m.Text
		}
		if m.Body != nil {
			body = m.Body
		}
		break
	}
	if body != nil {
		text, contentType := body.format(&s.info)
		r.Body = text
		r.Header = append(append([]filter.Field(nil), r.Header...), filter.Field{Name: "content-type", Value: contentType})
	}
}

func (b *ReplyBody) format(i *filter.Info) (text, contentType string) {
	if b.JSON != nil {
		text, contentType = string(b.JSON.Append(nil, i))+"\n", "application/json"
	} else {
		text, contentType = string(b.Text.Append(nil, i)), "text/plain"
	}
	if b.ContentType != "" {
		contentType = b.ContentType
	}
	return text, contentType
}
