package telemetry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/stream"
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
			if err := checkConfig(cfg); err != nil {
				return nil, err
			}
			return &httpFactory{metrics: m, outbound: ctx.Outbound}, nil
		},
	}
}

// NetworkKind is the network filter istio.stats, which marks the connection so
// that tcp_proxy's observer counts it.
func (m *Metrics) NetworkKind() filter.NetworkKind {
	return filter.NetworkKind{
		Name: FilterName, TypeURLs: []string{typeURL},
		Parse: func(_ *filter.ParseContext, cfg *anypb.Any) (filter.NetworkFactory, error) {
			if err := checkConfig(cfg); err != nil {
				return nil, err
			}
			return marker{}, nil
		},
	}
}

// checkConfig accepts Istio's TypedStruct with keys that change nothing here
// and refuses the others by name.
func checkConfig(cfg *anypb.Any) error {
	fields, err := structOf(cfg)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch name {
		case "disable_host_header_fallback", "tcp_reporting_duration", "debug", "stat_prefix":
		default:
			return fmt.Errorf("value.%s: not supported by the filter %s: remove it", name, FilterName)
		}
	}
	return nil
}

// structOf unwraps both spellings of TypedStruct. An Any of another type has no
// fields that this filter could know.
func structOf(cfg *anypb.Any) (map[string]*structpb.Value, error) {
	var u udpav1.TypedStruct
	var x xdsv3.TypedStruct
	switch {
	case cfg == nil:
		return nil, nil
	case cfg.MessageIs(&u):
		err := cfg.UnmarshalTo(&u)
		return u.GetValue().GetFields(), err
	case cfg.MessageIs(&x):
		err := cfg.UnmarshalTo(&x)
		return x.GetValue().GetFields(), err
	case len(cfg.GetValue()) == 0:
		return nil, nil
	}
	return nil, errors.New(cfg.GetTypeUrl() + ": want a TypedStruct of " + typeURL)
}

type marker struct{}

func (marker) New() filter.NetworkFilter { return marker{} }

func (marker) Open(_ stream.Conn, i *filter.ConnInfo) filter.Verdict {
	i.Counted = true
	return filter.Continue
}

func (marker) Closed(*filter.ConnInfo) {}

// httpFactory makes the filter instances of one chain; they are reused.
type httpFactory struct {
	metrics  *Metrics
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
	c.factory.metrics.Request(i, c.factory.outbound)
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
