package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/wasm"
)

// Recording is what a module is run against.
type Recording struct {
	// Config is the plug-in's configuration: text, or an object that it gets as JSON. RootID is its plugin_name.
	Config   any       `json:"config,omitempty"`
	RootID   string    `json:"rootId,omitempty"`
	Requests []Request `json:"requests"`
}

// Request is one request, the answer of the server behind, and what is expected.
type Request struct {
	Name     string  `json:"name,omitempty"`
	Request  Message `json:"request"`
	Response Message `json:"response"`
	Want     Want    `json:"want"`
}

// Message is a request (Method, Path, Host) or a response (Status).
type Message struct {
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path,omitempty"`
	Host    string            `json:"host,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
}

// Want is what has to come of a request; what is not written may be anything. A header that is to be absent is "".
type Want struct {
	// Status and Body are what the client gets; Request and Response the headers that server and client get.
	Status      int               `json:"status,omitempty"`
	Body        *string           `json:"body,omitempty"`
	RequestBody *string           `json:"requestBody,omitempty"`
	Request     map[string]string `json:"request,omitempty"`
	Response    map[string]string `json:"response,omitempty"`
}

// Outcome is what became of one request; no Faults: what was expected.
type Outcome struct {
	Name   string
	Faults []string
}

// Test runs a module against a recording.
func Test(ctx context.Context, module, recording string, log *slog.Logger) ([]Outcome, error) {
	raw, err := os.ReadFile(recording)
	if err != nil {
		return nil, err
	}
	var rec Recording
	if err := yaml.UnmarshalStrict(raw, &rec); err != nil {
		return nil, fmt.Errorf("%s: %w", recording, err)
	}
	if len(rec.Requests) == 0 {
		return nil, fmt.Errorf("%s: has no requests", recording)
	}
	if _, err := os.Stat(module); err != nil {
		return nil, fmt.Errorf("%w (check the path)", err)
	}
	f, err := load(ctx, module, &rec, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", module, strings.TrimPrefix(err.Error(), "config.vm_config.code.local.filename: "))
	}
	var out []Outcome
	for i := range rec.Requests {
		r := &rec.Requests[i]
		name := r.Name
		if name == "" {
			name = fmt.Sprintf("request %d", i+1)
		}
		out = append(out, Outcome{name, play(f, r)})
	}
	return out, nil
}

func load(ctx context.Context, module string, rec *Recording, log *slog.Logger) (filter.HTTPFactory, error) {
	abs, err := filepath.Abs(module)
	if err != nil {
		return nil, err
	}
	config, ok := rec.Config.(string)
	if !ok && rec.Config != nil {
		raw, err := json.Marshal(rec.Config)
		if err != nil {
			return nil, err
		}
		config = string(raw)
	}
	raw, err := json.Marshal(map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
		"config": map[string]any{
			"name": "plugin", "root_id": rec.RootID,
			"configuration": map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config},
			"vm_config":     map[string]any{"runtime": "envoy.wasm.runtime.v8", "code": map[string]any{"local": map[string]any{"filename": abs}}},
		},
	})
	if err != nil {
		return nil, err
	}
	a := &anypb.Any{}
	if err := protojson.Unmarshal(raw, a); err != nil {
		return nil, err
	}
	return wasm.Kind(wasm.Options{Life: ctx, Node: map[string]any{"id": "weft plugin test"}, Log: log}).Parse(
		&filter.ParseContext{FilterName: "plugin", Stats: &filter.Stats{}, Calls: nobody{}}, a)
}

// nobody answers calls: there is no cluster here.
type nobody struct{}

func (nobody) Call(_ *filter.Call, done func(*filter.Answer, error)) (cancel func()) {
	done(nil, errors.New("there are no clusters in a test"))
	return func() {}
}

// play sends one request through the plug-in, and says what is not as expected.
func play(f filter.HTTPFactory, r *Request) (faults []string) {
	s := newStream(r)
	x := f.New(s)
	if x == nil {
		return []string{"the plug-in has failed"}
	}
	defer x.Done(s)
	body, answer := s.through(x, filter.ToUpstream, r.Request.Body), ""
	if s.reply == nil {
		s.answer(&r.Response)
		answer = s.through(x, filter.ToDownstream, r.Response.Body)
	}
	status := s.resp.Status
	if s.reply != nil {
		status, answer = s.reply.Status, s.reply.Body
		s.resp = &filter.Headers{Status: status}
		for _, h := range s.reply.Header {
			s.resp.Add(h.Name, h.Value)
		}
	}
	if s.stuck {
		return []string{"the plug-in holds the message and does not let it go"}
	}
	if w := r.Want.Status; w != 0 && w != status {
		faults = append(faults, fmt.Sprintf("status %d, want %d", status, w))
	}
	if w := r.Want.Body; w != nil && *w != answer {
		faults = append(faults, fmt.Sprintf("body %q, want %q", answer, *w))
	}
	if w := r.Want.RequestBody; w != nil && *w != body {
		faults = append(faults, fmt.Sprintf("request body %q, want %q", body, *w))
	}
	faults = append(faults, differ("request", s.req, r.Want.Request)...)
	return append(faults, differ("response", s.resp, r.Want.Response)...)
}

func differ(what string, h *filter.Headers, want map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, _ := h.Joined(strings.ToLower(name))
		if got != want[name] {
			out = append(out, fmt.Sprintf("%s header %s is %q, want %q", what, name, got, want[name]))
		}
	}
	return out
}
