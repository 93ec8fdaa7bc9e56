package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"weak"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	extv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.wasm"

// maxModule bounds a module that is fetched: 256 MiB, as Envoy's agents do.
const maxModule = 256 << 20

// Options are what plug-ins see of the proxy.
type Options struct {
	// Life ends what plug-ins do by themselves.
	Life context.Context //nolint:containedctx // it bounds what configurations start
	// Node is the proxy's node as properties have it: id, cluster, metadata.
	Node map[string]any
	// Knows tells whether there is a cluster; nil: that is not asked.
	Knows func(cluster string) bool
	Log   *slog.Logger
}

// Kind describes the filter.
func Kind(o Options) filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3."
	all := &plugins{opt: o, by: map[string]weak.Pointer[plugin]{}}
	return filter.HTTPKind{
		Name: Name, TypeURLs: []string{prefix + "Wasm"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &wasmv3.Wasm{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			p, err := all.get(ctx, a, m.GetConfig())
			if err != nil {
				return nil, err
			}
			return &factory{p}, nil
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.wasm.v3.Wasm": "config",
	"envoy.extensions.wasm.v3.PluginConfig":      "name root_id vm_config configuration fail_open failure_policy reload_config capability_restriction_config",
	// An empty one restricts nothing.
	"envoy.extensions.wasm.v3.CapabilityRestrictionConfig": "",
	"envoy.extensions.wasm.v3.VmConfig":                    "vm_id runtime code configuration allow_precompiled nack_on_code_cache_miss environment_variables",
	"envoy.extensions.wasm.v3.ReloadConfig":                "backoff",
	"envoy.config.core.v3.BackoffStrategy":                 "base_interval max_interval",
	"envoy.extensions.wasm.v3.EnvironmentVariables":        "host_env_keys key_values",
	"envoy.config.core.v3.AsyncDataSource":                 "local remote",
	"envoy.config.core.v3.DataSource":                      "filename inline_bytes inline_string",
	"envoy.config.core.v3.RemoteDataSource":                "http_uri sha256 retry_policy",
	"envoy.config.core.v3.HttpUri":                         "uri cluster timeout",
	"envoy.config.core.v3.RetryPolicy":                     "retry_back_off num_retries",
	"google.protobuf.Struct":                               "fields",
	"google.protobuf.Value":                                "null_value number_value string_value bool_value struct_value list_value",
	"google.protobuf.ListValue":                            "values",
	"google.protobuf.StringValue":                          "value",
	"google.protobuf.BytesValue":                           "value",
	"google.protobuf.Any":                                  "type_url value",
	"google.protobuf.BoolValue":                            "value",
	"google.protobuf.UInt32Value":                          "value",
	"google.protobuf.Duration":                             "seconds nanos",
}

// factory makes the streams' contexts.
type factory struct{ plugin *plugin }

// New implements filter.HTTPFactory.
func (f *factory) New(s filter.Stream) filter.HTTPFilter {
	if x := newInstance(f.plugin, s); !x.open {
		return x
	}
	return nil
}

// plugins are those of a proxy: one that is configured twice in the same words has its machines once, so that an
// update of a listener starts nothing.
type plugins struct {
	opt Options
	mu  sync.Mutex
	by  map[string]weak.Pointer[plugin]
}

func (all *plugins) get(ctx *filter.ParseContext, a *anypb.Any, m *extv3.PluginConfig) (*plugin, error) {
	sum := sha256.Sum256(a.GetValue())
	key := string(sum[:]) + fileMark(m)
	all.mu.Lock()
	defer all.mu.Unlock()
	if p := all.by[key].Value(); p != nil {
		return p, nil
	}
	p, err := all.make(ctx, m)
	if err != nil {
		return nil, err
	}
	all.by[key] = weak.Make(p)
	runtime.AddCleanup(p, func(c *core) {
		c.close()
		all.mu.Lock()
		defer all.mu.Unlock()
		if all.by[key].Value() == nil {
			delete(all.by, key)
		}
	}, p.core)
	return p, nil
}

// fileMark tells versions of a file apart.
func fileMark(m *extv3.PluginConfig) string {
	name := m.GetVmConfig().GetCode().GetLocal().GetFilename()
	if name == "" {
		return ""
	}
	st, err := os.Stat(name)
	if err != nil {
		return ""
	}
	return fmt.Sprint(st.Size(), st.ModTime().UnixNano())
}

func (all *plugins) make(ctx *filter.ParseContext, m *extv3.PluginConfig) (*plugin, error) {
	vc := m.GetVmConfig()
	if vc == nil {
		return nil, errors.New("config.vm_config: is missing")
	}
	if vc.GetRuntime() == "envoy.wasm.runtime.null" {
		return nil, errors.New("config.vm_config.runtime: plug-ins that are part of Envoy are none of Weft's")
	}
	c := &core{
		name: m.GetName(), rootID: m.GetRootId(), vmID: vc.GetVmId(), calls: ctx.Calls, knows: all.opt.Knows, node: all.opt.Node,
		room: room(vc.GetVmId()), metrics: &metrics{stats: ctx.Stats, ids: map[string]uint32{}}, log: all.opt.Log, env: map[string]string{},
		failOpen: m.GetFailOpen() || m.GetFailurePolicy() == extv3.FailurePolicy_FAIL_OPEN, //nolint:staticcheck // the old spelling counts too
		errors:   ctx.Stats.Counter("wasm", "", "envoy.wasm.failed"),
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.ctx, c.stop = context.WithCancel(all.opt.Life)
	var err error
	if c.config, err = text(m.GetConfiguration()); err != nil {
		return nil, fmt.Errorf("config.configuration: %w", err)
	}
	if c.vmConfig, err = text(vc.GetConfiguration()); err != nil {
		return nil, fmt.Errorf("config.vm_config.configuration: %w", err)
	}
	for _, k := range vc.GetEnvironmentVariables().GetHostEnvKeys() {
		if v, ok := os.LookupEnv(k); ok {
			c.env[k] = v
		}
	}
	for k, v := range vc.GetEnvironmentVariables().GetKeyValues() {
		c.env[k] = v
	}
	if err := c.obtain(vc.GetCode()); err != nil {
		return nil, err
	}
	return &plugin{c}, nil
}

// obtain gets the code: what is at hand at once, with an error when it is no good; what is elsewhere later.
func (c *core) obtain(code *corev3.AsyncDataSource) error {
	const at = "config.vm_config.code."
	switch {
	case code.GetLocal() != nil:
		l := code.GetLocal()
		b, where := l.GetInlineBytes(), "local.inline_bytes"
		switch {
		case l.GetFilename() != "":
			var err error
			if b, err = os.ReadFile(l.GetFilename()); err != nil {
				return fmt.Errorf("%slocal.filename: %w", at, err)
			}
			where = "local.filename"
		case l.GetInlineString() != "":
			b, where = []byte(l.GetInlineString()), "local.inline_string"
		}
		if err := c.start(b); err != nil {
			return fmt.Errorf("%s%s: %w", at, where, err)
		}
		return nil
	case code.GetRemote() != nil:
		r := code.GetRemote()
		if c.calls == nil {
			return fmt.Errorf("%sremote: nothing can be fetched here", at)
		}
		if _, err := hex.DecodeString(r.GetSha256()); err != nil || len(r.GetSha256()) != 2*sha256.Size {
			return fmt.Errorf("%sremote.sha256: is no SHA-256 in hexadecimal", at)
		}
		uri, err := url.Parse(r.GetHttpUri().GetUri())
		if err != nil || uri.Host == "" {
			return fmt.Errorf("%sremote.http_uri.uri: is no URI", at)
		}
		go c.fetch(r, uri)
		return nil
	}
	return fmt.Errorf("%s is missing", strings.TrimSuffix(at, "."))
}

// start checks that it is a module, and runs it.
func (c *core) start(b []byte) error {
	if !bytes.HasPrefix(b, []byte("\x00asm")) {
		return errors.New("is no WebAssembly module")
	}
	return c.load(b)
}

// fetch gets a module from a cluster, and tries again until there is one. Until then the plug-in counts as failed.
func (c *core) fetch(r *corev3.RemoteDataSource, uri *url.URL) {
	wait := backoff.Backoff{Min: time.Second, Max: 30 * time.Second}
	for {
		err := c.fetchOnce(r, uri)
		if err == nil {
			return
		}
		c.log.Error("a plug-in cannot be fetched, it is tried again", "plugin", c.name, "uri", uri.Redacted(), "error", err)
		if wait.Wait(c.ctx) != nil {
			return
		}
	}
}

func (c *core) fetchOnce(r *corev3.RemoteDataSource, uri *url.URL) error {
	type result struct {
		answer *filter.Answer
		err    error
	}
	got := make(chan result, 1)
	h := &filter.Headers{Method: "GET", Scheme: uri.Scheme, Authority: uri.Host, Path: uri.RequestURI()}
	ask := &filter.Call{Cluster: r.GetHttpUri().GetCluster(), Header: h, Timeout: r.GetHttpUri().GetTimeout().AsDuration(), MaxBody: maxModule}
	cancel := c.calls.Call(ask, func(a *filter.Answer, err error) { got <- result{a, err} })
	defer cancel()
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case x := <-got:
		if x.err != nil {
			return x.err
		}
		if x.answer.Header.Status != 200 {
			return fmt.Errorf("the server answers %d", x.answer.Header.Status)
		}
		if sum := sha256.Sum256(x.answer.Body); hex.EncodeToString(sum[:]) != strings.ToLower(r.GetSha256()) {
			return fmt.Errorf("the module has the SHA-256 %x, not the one that is asked for", sum)
		}
		return c.start(x.answer.Body)
	}
}

// text is a configuration as plug-ins get it: a Struct as JSON, a string or bytes as they are, others whole.
func text(a *anypb.Any) (string, error) {
	if a == nil {
		return "", nil
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return string(a.GetValue()), nil //nolint:nilerr // of a type that is not known, the bytes count
	}
	switch m := m.(type) {
	case *structpb.Struct:
		b, err := protojson.Marshal(m)
		return string(b), err
	case *wrapperspb.StringValue:
		return m.GetValue(), nil
	case *wrapperspb.BytesValue:
		return string(m.GetValue()), nil
	}
	b, err := proto.Marshal(m)
	return string(b), err
}
