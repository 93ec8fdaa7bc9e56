package telemetry

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	statspb "istio.io/api/envoy/extensions/stats"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
)

// FilterName and typeURL of the stats filter, as Istio writes them.
const (
	FilterName = "istio.stats"
	typeURL    = "type.googleapis.com/stats.PluginConfig"
)

// HTTPKind is the HTTP filter istio.stats, which counts requests.
func (m *Metrics) HTTPKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name: FilterName, TypeURLs: []string{typeURL},
		Parse: func(ctx *filter.ParseContext, cfg *anypb.Any) (filter.HTTPFactory, error) {
			s, err := m.settings(cfg)
			if err != nil {
				return nil, err
			}
			return &httpFactory{metrics: m, set: s, outbound: ctx.Outbound}, nil
		},
	}
}

// NetworkKind is the network filter istio.stats, which marks the connection so
// that tcp_proxy's observer counts it.
func (m *Metrics) NetworkKind() filter.NetworkKind {
	return filter.NetworkKind{
		Name: FilterName, TypeURLs: []string{typeURL},
		Parse: func(_ *filter.ParseContext, cfg *anypb.Any) (filter.NetworkFactory, error) {
			s, err := m.settings(cfg)
			if err != nil {
				return nil, err
			}
			return marker{s}, nil
		},
	}
}

// settingsByContent are those that filters have, by their messages' bytes.
type settingsByContent struct {
	mu sync.Mutex
	by map[string]*settings // guarded by mu
}

// settings reads a filter's configuration.
func (m *Metrics) settings(cfg *anypb.Any) (*settings, error) {
	c, err := open(cfg)
	if err != nil {
		return nil, err
	}
	// What changes nothing is not told apart.
	c.Debug, c.MaxPeerCacheSize, c.StatPrefix, c.FieldSeparator, c.ValueSeparator = false, 0, "", "", ""
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, err
	}
	m.sets.mu.Lock()
	defer m.sets.mu.Unlock()
	if s := m.sets.by[string(key)]; s != nil {
		return s, nil
	}
	s, err := compile(c, m.node)
	if err != nil {
		return nil, err
	}
	if m.sets.by == nil {
		m.sets.by = map[string]*settings{}
	}
	m.sets.by[string(key)] = s
	return s, nil
}

// open reads both forms of the configuration, the message and a TypedStruct of
// it, and refuses by name what is not carried out.
func open(cfg *anypb.Any) (*statspb.PluginConfig, error) {
	c := &statspb.PluginConfig{}
	if cfg.MessageIs(c) {
		if err := cfg.UnmarshalTo(c); err != nil {
			return nil, err
		}
	} else {
		s, err := structOf(cfg)
		if err != nil {
			return nil, err
		}
		raw, err := protojson.Marshal(s)
		if err == nil {
			err = protojson.Unmarshal(raw, c)
		}
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
	}
	checker, err := strict.New(strict.Table{
		"stats.PluginConfig": "debug max_peer_cache_size stat_prefix field_separator value_separator " +
			"disable_host_header_fallback tcp_reporting_duration metrics reporter",
		// match is not carried out by Istio's proxy either.
		"stats.MetricConfig": "dimensions name tags_to_remove drop",
	})
	if err != nil {
		return nil, err
	}
	return c, checker.Check(c)
}

// structOf unwraps both spellings of TypedStruct. An Any of another type has no
// fields that this filter could know.
func structOf(cfg *anypb.Any) (*structpb.Struct, error) {
	var u udpav1.TypedStruct
	var x xdsv3.TypedStruct
	switch {
	case cfg.MessageIs(&u):
		err := cfg.UnmarshalTo(&u)
		return u.GetValue(), err
	case cfg.MessageIs(&x):
		err := cfg.UnmarshalTo(&x)
		return x.GetValue(), err
	case len(cfg.GetValue()) == 0:
		return nil, nil
	}
	return nil, errors.New(cfg.GetTypeUrl() + ": want a TypedStruct of " + typeURL)
}

type marker struct{ set *settings }

func (m marker) New() filter.NetworkFilter { return m }

func (m marker) Open(_ stream.Conn, i *filter.ConnInfo) filter.Verdict {
	i.Counted, i.CountedAs = true, m.set
	return filter.Continue
}

func (marker) Closed(*filter.ConnInfo) {}

// httpFactory makes the filter instances of one chain; they are reused.
type httpFactory struct {
	metrics  *Metrics
	set      *settings
	outbound bool
	pool     sync.Pool
}

func (f *httpFactory) New(filter.Stream) filter.HTTPFilter {
	if c, ok := f.pool.Get().(*counter); ok {
		return c
	}
	return &counter{factory: f}
}

// counter is the filter instance of one stream.
type counter struct {
	filter.PassThrough
	factory  *httpFactory
	req, res messages
}

// RequestData counts gRPC messages.
func (c *counter) RequestData(s filter.Stream, b []byte, _ bool) filter.Verdict {
	if s.Info().GRPC {
		c.req.feed(b)
	}
	return filter.Continue
}

// ResponseData counts gRPC messages.
func (c *counter) ResponseData(s filter.Stream, b []byte, _ bool) filter.Verdict {
	if s.Info().GRPC {
		c.res.feed(b)
	}
	return filter.Continue
}

// Done counts the request.
func (c *counter) Done(s filter.Stream) {
	i := s.Info()
	i.RequestMessages, i.ResponseMessages = c.req.n, c.res.n
	c.factory.metrics.request(i, c.factory.outbound, c.factory.set)
	c.req, c.res = messages{}, messages{}
	c.factory.pool.Put(c)
}

// messages counts length-prefixed gRPC messages in a stream of bytes.
type messages struct {
	n      uint64
	left   uint64 // bytes of the present message still to come
	header [5]byte
	have   int
}

func (m *messages) feed(b []byte) {
	for len(b) > 0 {
		if m.left > 0 {
			n := min(m.left, uint64(len(b)))
			m.left -= n
			b = b[n:]
			continue
		}
		n := copy(m.header[m.have:], b)
		m.have += n
		b = b[n:]
		if m.have == len(m.header) {
			m.have = 0
			m.n++
			m.left = uint64(m.header[1])<<24 | uint64(m.header[2])<<16 | uint64(m.header[3])<<8 | uint64(m.header[4])
		}
	}
}
