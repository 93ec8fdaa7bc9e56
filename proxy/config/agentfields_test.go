package config

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
)

// TestAgentFields: what pilot-agent writes into every bootstrap.
func TestAgentFields(t *testing.T) {
	const ext = `{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/`
	const file = `type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog`
	for text, fails := range map[string]string{
		`bootstrap_extensions: [` + ext + `istio.workload.BootstrapExtension, value: {}}}]`:                                                                                          "",
		`bootstrap_extensions: [` + ext + `envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]`:                                                                      "",
		`bootstrap_extensions: [` + ext + `other.Extension}}]`:                                                                                                                       "bootstrap_extensions[0].typed_config",
		`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}, access_log: [{name: f, typed_config: {"@type": ` + file + `, path: /dev/null}}], profile_path: /x}`: "",
		`admin: {access_log: [{name: f, typed_config: {"@type": ` + file + `, path: /tmp/log}}]}`:                                                                                    "admin.access_log[0]",
		`stats_config: {stats_tags: [{tag_name: a, regex: "^a"}]}`:                                                                                                                   "",
		`application_log_config: {log_format: {text_format: "%v"}}`:                                                                                                                  "",
		`{deferred_stat_options: {enable_deferred_creation_stats: true}, stats_flush_interval: 5s, cluster_manager: {enable_deferred_cluster_creation: true}}`:                       "",
	} {
		b, err := ParseBootstrap([]byte(text))
		if (err == nil) != (fails == "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("%s: %v, want %q", text, err, fails)
			continue
		}
		if err == nil && b.Workloads != strings.Contains(text, "istio.workload") {
			t.Errorf("%s: workloads %t", text, b.Workloads)
		}
		if err == nil && (len(b.Notes) > 0) != (strings.Contains(text, "stats_tags") || strings.Contains(text, "application_log")) {
			t.Errorf("%s: notes %v", text, b.Notes)
		}
	}
}

// TestTypedStruct becomes the message that it describes, where that is known.
func TestTypedStruct(t *testing.T) {
	for text, want := range map[string]string{
		`{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "value": {"max_active_faults": 3}}`: "",
		`{"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "value": {"nonsense": 3}}`:           "nonsense",
	} {
		a := &anypb.Any{}
		if err := protojson.Unmarshal([]byte(text), a); err != nil {
			t.Fatal(err)
		}
		got, err := typed(a)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
		if f := (&faultv3.HTTPFault{}); err == nil && (got.UnmarshalTo(f) != nil || f.GetMaxActiveFaults().GetValue() != 3) {
			t.Errorf("%s: %v", text, got)
		}
	}
	unknown := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(`{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/no.such.Message", "value": {}}`), unknown); err != nil {
		t.Fatal(err)
	}
	if got, err := typed(unknown); err != nil || got != unknown {
		t.Errorf("%v, %v", got, err)
	}
}
