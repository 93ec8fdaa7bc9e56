package accesslog

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/telemetry/export"
)

// OTLPOptions describe a log in OpenTelemetry's form.
type OTLPOptions struct {
	// Body and Attributes are formats, lists and objects of such. A nil Body: none.
	Body       any
	Attributes map[string]any
	Resource   map[string]string
	Tags       []format.Tag
	// Objects of filter state that are attributes too, by their keys, as JSON.
	Objects []string
	// Every and Bytes say when what there is is sent.
	Every time.Duration
	Bytes int
	// Send exports a request.
	Send func(context.Context, *collectorpb.ExportLogsServiceRequest) error
	Log  *slog.Logger
}

// OTLP is an access log in OpenTelemetry's form. Run its Batch.
type OTLP struct {
	*export.Batch[*logspb.LogRecord]
	body       *tree
	attributes []named
	tags       []format.Tag
	objects    []string
}

// named is an attribute.
type named struct {
	name  string
	value *tree
}

// tree is a compiled value.
type tree struct {
	text   *format.Format
	list   []*tree
	object []named
}

// NewOTLP makes a log.
func NewOTLP(o OTLPOptions, fo format.Options) (*OTLP, error) {
	fo.Missing = "-"
	l := &OTLP{tags: o.Tags, objects: o.Objects}
	var err error
	if o.Body != nil {
		if l.body, err = plant(o.Body, fo); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	if l.attributes, err = plantObject(o.Attributes, fo); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	resource := &resourcepb.Resource{}
	for _, n := range slices.Sorted(maps.Keys(o.Resource)) {
		resource.Attributes = append(resource.Attributes, &commonpb.KeyValue{Key: n, Value: str(o.Resource[n])})
	}
	l.Batch = export.New(&export.Batch[*logspb.LogRecord]{
		Every: o.Every, Bytes: o.Bytes, Log: o.Log, Size: func(r *logspb.LogRecord) int { return proto.Size(r) },
		Send: func(ctx context.Context, records []*logspb.LogRecord) error {
			return o.Send(ctx, &collectorpb.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{
				Resource: resource, ScopeLogs: []*logspb.ScopeLogs{{LogRecords: records}},
			}}})
		},
	})
	return l, nil
}

// Log queues a record.
func (l *OTLP) Log(i *filter.Info) {
	r := &logspb.LogRecord{TimeUnixNano: uint64(i.Start.UnixNano())}
	if l.body != nil {
		r.Body = l.body.grow(i)
	}
	for _, a := range l.attributes {
		r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: a.name, Value: a.value.grow(i)})
	}
	for n := range l.tags {
		if v, ok := l.tags[n].Value(i); ok {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: l.tags[n].Name, Value: str(v)})
		}
	}
	for _, key := range l.objects {
		v := i.FilterState[key]
		if p := i.PeerOf(key); p != nil {
			v = p.Attributes()
		}
		if b, err := json.Marshal(v); err == nil && v != nil {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: key, Value: str(string(b))})
		}
	}
	if i.Trace.Valid {
		r.TraceId, r.SpanId = append([]byte(nil), i.Trace.TraceID[:]...), append([]byte(nil), i.Trace.SpanID[:]...)
	}
	l.Add(r)
}

func str(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func plant(v any, o format.Options) (*tree, error) {
	t := &tree{}
	var err error
	switch v := v.(type) {
	case string:
		t.text, err = format.Compile(v, o)
	case []any:
		t.list = []*tree{}
		for i, e := range v {
			in, err := plant(e, o)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			t.list = append(t.list, in)
		}
	case map[string]any:
		t.object, err = plantObject(v, o)
	default:
		err = fmt.Errorf("a %T is not supported, only strings, lists and objects", v)
	}
	return t, err
}

func plantObject(m map[string]any, o format.Options) ([]named, error) {
	out := []named{}
	for _, n := range slices.Sorted(maps.Keys(m)) {
		in, err := plant(m[n], o)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", n, err)
		}
		out = append(out, named{n, in})
	}
	return out, nil
}

// grow makes the value for a request.
func (t *tree) grow(i *filter.Info) *commonpb.AnyValue {
	switch {
	case t.text != nil:
		return str(string(t.text.Append(nil, i)))
	case t.list != nil:
		list := &commonpb.ArrayValue{}
		for _, e := range t.list {
			list.Values = append(list.Values, e.grow(i))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
	}
	object := &commonpb.KeyValueList{}
	for _, m := range t.object {
		object.Values = append(object.Values, &commonpb.KeyValue{Key: m.name, Value: m.value.grow(i)})
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: object}}
}
