package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	// Linked in so that the strict check can look into them.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/http/forward"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/redis"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/tcp"
	"github.com/weftmesh/weft/proxy/transport"
)

// Decoder turns messages into what the data plane runs on. Its fields are set
// once; its methods are pure but for reading files that a message names.
type Decoder struct {
	// Life is that of the proxy; it has to be there where there may be modules.
	Life         context.Context //nolint:containedctx // of what configurations start
	HTTPKinds    []filter.HTTPKind
	NetworkKinds []filter.NetworkKind
	// Protocols are those of messages, for MessageProxy.
	Protocols []*codec.Protocol
	// Redis has the connections to servers of Redis.
	Redis *redis.Engine
	// declared are those that were declared so far, by what was said.
	declared sync.Map
	// modules are the newest module of each protocol.
	modules  sync.Map
	Secrets  *transport.SecretStore
	Clusters *cluster.Manager
	// Mark is the SO_MARK that all upstream connections get.
	Mark int
	// AccessLog and Tracer make what a configuration asks for; nil: it is refused.
	AccessLog func(AccessLog) (AccessLogger, error)
	Tracer    func(Tracing) (http.Tracer, error)
	// DefaultTracing is the provider where a connection manager names none; nil: there is none.
	DefaultTracing *tracev3.Tracing_Http
	// HealthLog opens an event log of health checks; nil: they are refused.
	HealthLog func(path string) (*health.Log, error)
	// TCPObservers are told of the connections of TCP proxies.
	TCPObservers []tcp.Observer
	// Routes finds the present table of a route configuration by name; the Store sets it.
	Routes       func(name string) func() *route.Table
	RouteOptions route.Options
	// Scopes are those that the control plane has sent; the Store sets it.
	Scopes func() route.Scopes
	// Runtime has the values that override defaults; nil: nothing does.
	Runtime *runtime.Store
	Logger  *slog.Logger
	// Greeter reads the filter of clusters by which proxies say who they are; nil: it is refused.
	Greeter func(*anypb.Any) (cluster.Greeter, error)
	// LocalSecret tells whether a secret that does not come over ADS can be had, beside
	// the proxy's own identity; nil: none can.
	LocalSecret func(name string) error
	// Overload tells connection managers when to shed load; nil: never.
	Overload *overload.State
	// Failing is the connection managers' (http.Config).
	Failing func() bool
	// HTTPStats count for all connection managers, by their prefixes.
	HTTPStats *http.Stats
	// FilterStats are those of filters.
	FilterStats *filter.Stats
	// Extensions finds the filter that a name of extension discovery stands for; the Store sets it.
	// It gives back the place that is like x, if there is one.
	Extensions func(e extension, x place) place
	// Added is told what the proxy itself adds to requests; nil: nobody is.
	Added func(time.Duration)

	// StateOfTheWorld: ADS is of the variant that knows nothing on demand.
	StateOfTheWorld bool
	// AskCluster asks for a cluster on demand; the Store sets it.
	AskCluster func(name string, timeout time.Duration, wake func(filter.Outcome)) (filter.Outcome, func() bool)

	// ServiceCluster, Calls and Local are for filters: see filter.ParseContext.
	ServiceCluster string
	Calls          filter.Caller
	Local          filter.Members

	staticSecrets map[string]bool
}

// checker compiles the tables once per process: they are constants.
var checker = sync.OnceValues(func() (*strict.Checker, error) {
	return strict.New(supportedRoute, match.Supported, match.SupportedMetadata, match.SupportedChanges, match.SupportedTrees, descriptor.Supported, supportedCluster, supportedHealth, supportedPolicies, supportedTypes, supportedRedis, forward.CacheFields, supportedSource, supportedTLS, supportedListener, supportedBootstrap, supportedOverload)
})

// Features lists what is supported, message by message.
func Features() ([]strict.Feature, error) {
	c, err := checker()
	if err != nil {
		return nil, err
	}
	return c.Features(), nil
}

// open reads a resource's body into m and checks it: the fields against what
// is supported, the values against the API's constraints.
func open(body *anypb.Any, m proto.Message) error {
	if body == nil {
		return errors.New("has no body")
	}
	if err := body.UnmarshalTo(m); err != nil {
		return err
	}
	return check(m)
}

func check(m proto.Message) error {
	c, err := checker()
	if err != nil {
		return err
	}
	if err := c.Check(m); err != nil {
		return err
	}
	if v, ok := m.(validator); ok {
		return v.Validate()
	}
	return nil
}

// httpKind finds the kind of filter that takes a configuration, and returns that
// in the form that it takes.
func (d *Decoder) httpKind(a *anypb.Any) (*filter.HTTPKind, *anypb.Any, error) {
	url, err := configType(a)
	if err != nil {
		return nil, nil, err
	}
	for i := range d.HTTPKinds {
		if slices.Contains(d.HTTPKinds[i].TypeURLs, url) {
			a, err = typed(a)
			return &d.HTTPKinds[i], a, err
		}
	}
	return nil, nil, fmt.Errorf("%s is not supported", url)
}

// typed turns a TypedStruct, which EnvoyFilters are written with, into the
// message that it describes. One whose type nobody here has as a message is left
// for its filter to read.
func typed(a *anypb.Any) (*anypb.Any, error) {
	var u udpav1.TypedStruct
	var x xdsv3.TypedStruct
	url, value := "", (*structpb.Struct)(nil)
	switch {
	case a.MessageIs(&u):
		if err := a.UnmarshalTo(&u); err != nil {
			return nil, err
		}
		url, value = u.TypeUrl, u.Value
	case a.MessageIs(&x):
		if err := a.UnmarshalTo(&x); err != nil {
			return nil, err
		}
		url, value = x.TypeUrl, x.Value
	default:
		return a, nil
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err != nil {
		return a, nil //nolint:nilerr // not known here
	}
	if value == nil {
		value = &structpb.Struct{}
	}
	raw, err := protojson.Marshal(value)
	if err != nil {
		return nil, at(err, "value")
	}
	m := mt.New().Interface()
	if err := protojson.Unmarshal(raw, m); err != nil {
		return nil, at(err, "value")
	}
	return anypb.New(m)
}

// configType is the type of a filter's configuration, that inside a TypedStruct
// when it is one.
func configType(a *anypb.Any) (string, error) {
	switch {
	case a == nil:
		return "", errors.New("has no configuration")
	case a.MessageIs(&xdsv3.TypedStruct{}):
		t := &xdsv3.TypedStruct{}
		err := a.UnmarshalTo(t)
		return t.TypeUrl, err
	case a.MessageIs(&udpav1.TypedStruct{}):
		t := &udpav1.TypedStruct{}
		err := a.UnmarshalTo(t)
		return t.TypeUrl, err
	}
	return a.TypeUrl, nil
}
