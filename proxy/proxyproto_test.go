package proxy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// TestProxyProtocol sends PROXY headers to a listener that reads them.
func TestProxyProtocol(t *testing.T) {
	addr, log := freeport.Addr(t), filepath.Join(t.TempDir(), "log")
	admin := runStatic(t, `
static_resources:
  listeners:
  - name: l
    address: {L}
    listener_filters:
    - name: p
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
        rules: [{tlv_type: 2, on_tlv_present: {key: auth}}]
        disallowed_versions: [V1]
        stat_prefix: edge
    filter_chains:
    - filter_chain_match: {source_prefix_ranges: [{address_prefix: 1.2.0.0, prefix_len: 16}], destination_port: 2222}
      filters:
      - name: t
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t
          cluster: up
          access_log:
          - name: f
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: `+log+`
              log_format: {text_format_source: {inline_string: "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:auth)%\n"}}
`+staticUp, map[string]string{"L": addr, "UP": echoServer(t)})
	head := "\r\n\r\n\x00\r\nQUIT\n"
	v2 := head + "\x21\x11\x00\x12\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\x02\x00\x03abc"
	for _, c := range []struct{ say, want string }{
		{v2 + "hi", "hi"},
		{head + "\x21\x11\x00\x0c\x09\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xaehi", ""}, // of no chain
		{"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\nhi", ""},
		{"GET / HTTP/1.1\r\n\r\n", ""},
		{head + "\x31\x11\x00\x00", ""},
	} {
		if got := talk(t, addr, c.say); got != c.want {
			t.Errorf("%q: %q, want %q", c.say, got, c.want)
		}
	}
	want := "not_found_disallowed: 1 versions.v1.disallowed: 1 versions.v1.found: 1 versions.v2.error: 1 versions.v2.found: 2"
	if got := statsOf(t, admin, "proxy_proto.edge."); got != want {
		t.Errorf("statistics %s, want %s", got, want)
	}
	if got := statsOf(t, admin, "downstream_cx_proxy_proto_error"); got != ": 2" {
		t.Errorf("errors%s, want 2", got)
	}
	wantLog := "1.2.3.4:1111 5.6.7.8:2222 127.0.0.1 abc\n"
	var got string
	for end := time.Now().Add(60 * time.Second); got != wantLog && time.Now().Before(end); {
		b, _ := os.ReadFile(log)
		got = string(b)
	}
	if got != wantLog {
		t.Errorf("log %q, want %q", strings.TrimSpace(got), wantLog)
	}
}
