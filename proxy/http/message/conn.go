package message

import (
	"fmt"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	httpcodec "github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h2"
)

const (
	defaultMax = 8 << 20 // of a message
	// keepCap is the buffer capacity that an idle connection may hold on to.
	keepCap = 4 << 10
	// maxUnread bounds what a stream's client may leave unread.
	maxUnread = 1 << 20
	// maxOpen bounds the requests that one client has under way.
	maxOpen = 4096
	// maxFields bounds the fields of a message: rules and changes look at each several times.
	maxFields = 256
	// maxFree bounds the memory of streams that a connection keeps for the next ones.
	maxFree = 16
)

// side is what both ends of a connection have in common.
type side struct {
	ev   httpcodec.Events
	p    *codec.Protocol
	cd   codec.Codec
	from codec.Peer // who sends what is fed
	max  int

	streams h2.Table[stream]
	last    uint32 // the id of the youngest stream
	free    *stream
	nFree   int
	head    *filter.Headers // lent for a message and not given to anybody: of upstreams
	m       codec.Message
	look    codec.Message // at what is being sent
	memo    any           // the codec's, of the message at hand
	need    int           // bytes of the message at hand, once they are known
	feeding bool
	mute    bool
	err     *httpcodec.Error
	tail    []byte
	out     []byte
	lent    *loan          // what out was borrowed with; nil: it was not
	spare   filter.Headers // for what was in a message before rules changed it
	changes []codec.Change
}

func newSide(ev httpcodec.Events, p *codec.Protocol, from codec.Peer) side {
	s := side{ev: ev, p: p, cd: p.New(), from: from, max: p.MaxMessage}
	if s.max <= 0 {
		s.max = defaultMax
	}
	return s
}

// stream is one request and its answer, or one stream of messages.
type stream struct {
	id   uint32
	kind codec.Kind
	wire uint64 // the id on this connection
	tag  uint64
	note []byte

	// what is being sent
	head    filter.Headers // fields that may have been changed; empty when Encode changes nothing
	status  int
	native  bool   // whole messages follow; else a text
	body    []byte // gathered
	ready   []byte // InOrder: encoded, until it is its turn
	asked   bool   // the first message is out
	sent    bool   // this side's direction has ended
	got     bool   // the other's
	dead    bool   // given up, but its turn is to come yet
	started bool   // the head of the answer has come: of upstreams
	large   bool   // much memory is in head
	unread  int    // of messages that the user has not consumed
	next    *stream
}

func (s *side) newStream() *stream {
	st := s.free
	if st == nil {
		st = spareStreams.Get().(*stream)
	} else {
		s.free = st.next
		s.nFree--
	}
	for s.last += 2; s.last == 0 || s.streams.Get(s.last) != nil; { // they begin anew after two thousand million
		s.last += 2
	}
	st.id, st.next = s.last, nil
	s.streams.Put(st.id, st)
	return st
}

// release forgets a stream. Its memory is used again; much of it is not kept.
func (s *side) release(st *stream) {
	st.head.Reset()
	note, body, ready, head := small(st.note), small(st.body), small(st.ready), st.head
	if st.large {
		head = filter.Headers{}
	}
	*st = stream{note: note, body: body, ready: ready, head: head}
	if s.nFree == maxFree {
		spareStreams.Put(st)
		return
	}
	s.nFree++
	st.next, s.free = s.free, st
}

func small(b []byte) []byte {
	if cap(b) > keepCap {
		return nil
	}
	return b[:0]
}

// feed splits b into messages and gives each to take, which is told the bytes of the whole message.
func (s *side) feed(b []byte, take func(raw []byte)) error {
	switch {
	case s.feeding:
		return nil
	case s.err != nil:
		return s.err
	case s.mute:
		return nil
	}
	s.feeding = true
	kept := len(s.tail) > 0
	if kept {
		s.tail = append(s.tail, b...)
		b = s.tail
	}
	rest := b
	for s.err == nil && !s.mute && len(rest) > 0 {
		n := s.message(rest)
		if n == 0 {
			break
		}
		s.need = 0
		take(rest[:n])
		rest = rest[n:]
	}
	s.feeding = false
	switch {
	case s.mute || s.err != nil || len(rest) == 0:
		s.tail = small(s.tail)
	case kept:
		s.tail = s.tail[:copy(s.tail, rest)]
	default:
		s.tail = append(s.tail, rest...)
	}
	if s.err != nil {
		return s.err
	}
	return nil
}

// message reads the message that b begins with into s.m and returns its size, 0 when it is not whole yet.
func (s *side) message(b []byte) int {
	if len(b) < s.need {
		return 0
	}
	s.m = codec.Message{Head: s.newHead(), Memo: s.memo}
	s.memo = nil
	if err := s.cd.Decode(b, s.from, &s.m); err != nil {
		s.fail(err.Error())
		return 0
	}
	switch {
	case s.m.Size > s.max:
		s.fail(fmt.Sprintf("a message of %d bytes, which is over the limit of %d", s.m.Size, s.max))
		return 0
	case s.m.Size == 0 && len(b) > s.max:
		s.fail(fmt.Sprintf("a message without end: its size is not known after %d bytes", len(b)))
		return 0
	case s.m.Size == 0:
		s.memo = s.m.Memo
		return 0
	case s.m.Size > len(b):
		s.need = s.m.Size
		return 0
	case s.m.Head != nil && s.m.Head.Len() > maxFields:
		s.fail(fmt.Sprintf("a message with %d fields, which is over the limit of %d", s.m.Head.Len(), maxFields))
		return 0
	}
	return s.m.Size
}

// newHead is where the next message's fields are to go. That of a client's connection is kept by Events.
func (s *side) newHead() *filter.Headers {
	if s.from == codec.Client {
		return s.ev.NewHeaders(s.last + 2)
	}
	if s.head == nil {
		s.head = s.ev.NewHeaders(s.last + 2)
	} else {
		s.head.Reset()
	}
	return s.head
}

// fail notes that the connection is of no use any more.
func (s *side) fail(detail string) {
	if s.err == nil {
		s.err = &httpcodec.Error{Status: 400, Code: httpcodec.ResetProtocol, Detail: s.p.Name + ".codec_error: " + detail}
	}
}

// cutOff resets all streams: the connection has gone. silentToo: those that nobody waits for as well.
func (s *side) cutOff(silentToo bool) {
	var all []uint32
	for id, st := range s.streams.All() {
		if silentToo || st.kind != codec.OneWay {
			all = append(all, id)
		}
	}
	for _, id := range all {
		s.streams.Delete(id)
	}
	for _, id := range all {
		if !s.mute {
			s.ev.OnReset(id, httpcodec.ResetConnection)
		}
	}
}

// Stop implements httpcodec.Codec.
func (s *side) Stop() { s.mute, s.tail, s.memo, s.head = true, nil, nil, nil }

// Retained implements httpcodec.Codec: messages that are whole are taken at once, and what is
// kept of one that is not has to be read on.
func (s *side) Retained() int { return 0 }

// Output implements httpcodec.Codec.
func (s *side) Output() []byte { return s.out }

// Streams implements httpcodec.Codec.
func (s *side) Streams() int { return s.streams.Len() }

// Protocol implements httpcodec.Codec.
func (s *side) Protocol() string { return s.p.Name }

// Interim implements httpcodec.Codec: there is no such thing.
func (s *side) Interim(uint32, *filter.Headers) {}

// CanSend implements httpcodec.Codec: there are no windows.
func (s *side) CanSend(uint32) int { return 1 << 20 }

// keep notes the fields of h that Encode may have to put into a message.
func (s *side) keep(st *stream, h *filter.Headers) {
	st.head.Reset()
	st.head.Method, st.head.Path = st.head.KeepString(h.Method), st.head.KeepString(h.Path)
	st.head.Authority = st.head.KeepString(h.Authority)
	n := len(h.Method) + len(h.Path) + len(h.Authority)
	for i := range h.Len() {
		if f := h.At(i); Public(f.Name) {
			st.head.Add(st.head.KeepString(f.Name), st.head.KeepString(f.Value))
			n += len(f.Name) + len(f.Value)
		}
	}
	st.large = st.large || n > keepCap
}

// encode appends a whole message with the id of this connection and what was changed.
func (s *side) encode(out, raw []byte, st *stream, mutable bool) []byte {
	from := codec.Client
	if s.from == codec.Client {
		from = codec.Server
	}
	s.changes = s.changes[:0]
	if mutable {
		s.spare.Reset()
		s.look = codec.Message{Head: &s.spare}
		if s.cd.Decode(raw, from, &s.look) == nil {
			s.changes = differences(s.changes, &s.spare, &st.head)
		}
	}
	done, err := s.cd.Encode(out, raw, from, st.wire, s.changes)
	if st.large {
		s.spare = filter.Headers{}
	}
	if err != nil {
		// It came so from the other side: better unchanged than not at all.
		if done, err = s.cd.Encode(out, raw, from, st.wire, nil); err != nil {
			return out
		}
	}
	return done
}
