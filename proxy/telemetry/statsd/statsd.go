// Package statsd sends statistics to a statsd server over UDP, in its own form or
// in that of DogStatsD, as Envoy's stats sinks do.
//
// Counters are sent as what has been added since the last time, gauges as they
// are; what has never been used is not sent. Datagrams that get lost are lost.
// Histograms are not sent, and there is no TCP.
package statsd

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Sink says where statistics go, and in which form.
type Sink struct {
	Address netip.AddrPort
	// Prefix of all names; "": "envoy".
	Prefix string
	// Tags: DogStatsD's form, where names of clusters and such are tags.
	Tags bool
	// MaxDatagram is how many bytes of metrics go into one datagram; 0: one metric each.
	MaxDatagram int
}

// Metric is one statistic.
type Metric struct {
	// Scope, Name and Stat are the parts of its name ("cluster", "x", "upstream_rq_total").
	Scope, Name, Stat string
	Value             uint64
	Gauge             bool
	// Tag is what Name is called as a tag; "": it is part of the metric's name.
	Tag string
}

// Sender sends to one sink. It is not safe for concurrent use.
type Sender struct {
	sink Sink
	conn net.Conn
	sent map[string]uint64 // values of before, by the line's beginning
	out  []byte
}

// New makes a sender.
func New(ctx context.Context, s Sink) (*Sender, error) {
	if s.Prefix == "" {
		s.Prefix = "envoy"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", s.Address.String())
	if err != nil {
		return nil, err
	}
	return &Sender{sink: s, conn: c, sent: map[string]uint64{}}, nil
}

// Run sends every interval, and once more when ctx ends.
func (s *Sender) Run(ctx context.Context, every time.Duration, each func(func(Metric))) {
	defer s.conn.Close()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.Flush(each)
		case <-ctx.Done():
			s.Flush(each)
			return
		}
	}
}

// Flush sends what there is.
func (s *Sender) Flush(each func(func(Metric))) {
	each(func(m Metric) {
		name, tags := s.names(&m)
		key := name + tags
		old, known := s.sent[key]
		if m.Value == 0 && !known || !m.Gauge && m.Value == old {
			return
		}
		s.sent[key] = m.Value
		v, kind := m.Value, "|g"
		if !m.Gauge {
			kind = "|c"
			if v >= old { // else it has begun anew
				v -= old
			}
		}
		s.add(name + ":" + strconv.FormatUint(v, 10) + kind + tags)
	})
	s.write()
}

// names are a metric's name and its tags as they are written.
func (s *Sender) names(m *Metric) (name, tags string) {
	parts := []string{s.sink.Prefix, m.Scope, m.Name, m.Stat}
	if s.sink.Tags && m.Tag != "" && m.Name != "" {
		tags = "|#" + m.Tag + ":" + strings.ReplaceAll(m.Name, ":", "_")
		parts[2] = ""
	}
	for _, p := range parts {
		switch {
		case p == "":
		case name == "":
			name = p
		default:
			name += "." + p
		}
	}
	// A colon ends a name; "|" does not occur in statsd's names either.
	return strings.NewReplacer(":", "_", "|", "_").Replace(name), tags
}

// add puts a line into the datagram, or sends that first.
func (s *Sender) add(line string) {
	if len(s.out) > 0 && len(s.out)+1+len(line) > s.sink.MaxDatagram {
		s.write()
	}
	if len(s.out) > 0 {
		s.out = append(s.out, '\n')
	}
	s.out = append(s.out, line...)
}

func (s *Sender) write() {
	if len(s.out) > 0 {
		_, _ = s.conn.Write(s.out) // nobody listens: there is no one to tell
		s.out = s.out[:0]
	}
}
