package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// This is the sidecar with everything that meshes usually ask of it: a token of
// the caller's, authorization, a rate limit, a log line and a mesh's metrics.

// issuer makes the tokens of the run, with a key of its own.
var issuer = sync.OnceValues(func() (keys, token string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys = text(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "kid": "bench", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	}}})
	signed := b64([]byte(text(map[string]any{"alg": "RS256", "kid": "bench", "typ": "JWT"}))) + "." + b64([]byte(text(map[string]any{
		"iss": "https://bench.example.com", "sub": "reader@bench.example.com", "aud": "books", "groups": []string{"readers", "staff"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(),
	})))
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return keys, signed + "." + b64(sig)
})

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

// tokenRequest is the usual request with a token.
func tokenRequest() []byte {
	_, token := issuer()
	return bytes.Replace(request(), []byte("accept:"), []byte("authorization: Bearer "+token+"\r\naccept:"), 1)
}

// logFormat is Istio's.
const logFormat = `[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" ` +
	`\"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ` +
	`%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n`

// policies are what stands in front of the router. The last one counts as Istio
// does; a stock Envoy does not have it, and passes over it.
func policies(keys string) string {
	return fmt.Sprintf(`          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                bench:
                  issuer: https://bench.example.com
                  audiences: [books]
                  forward: true
                  payload_in_metadata: claims
                  local_jwks: {inline_string: %q}
                  jwt_cache_config: {jwt_cache_size: 1000}
              rules: [{match: {prefix: /}, requires: {provider_name: bench}}]
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  admin:
                    permissions: [{url_path: {path: {prefix: /admin}}}]
                    principals: [{metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: claims}, {key: groups}], value: {list_match: {one_of: {string_match: {exact: admins}}}}}}]
                  books:
                    permissions:
                    - and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {url_path: {path: {prefix: /api/books}}}]}
                    principals:
                    - and_ids:
                        ids:
                        - metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: claims}, {key: iss}], value: {string_match: {exact: "https://bench.example.com"}}}
                        - metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: claims}, {key: groups}], value: {list_match: {one_of: {string_match: {exact: readers}}}}}
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: {max_tokens: 100000000, tokens_per_fill: 100000000, fill_interval: 1s}
              filter_enabled: {default_value: {numerator: 100}}
              filter_enforced: {default_value: {numerator: 100}}
          - name: istio.stats
            is_optional: true
            typed_config:
              "@type": type.googleapis.com/udpa.type.v1.TypedStruct
              type_url: type.googleapis.com/stats.PluginConfig
`, keys)
}

// fullBootstrap has all of it. more are further access loggers.
func fullBootstrap(more string) func(ports []int, up, dir string) []string {
	return func(ports []int, up, dir string) []string {
		keys, _ := issuer()
		logs := fmt.Sprintf(`          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: %q
              log_format: {text_format_source: {inline_string: "%s"}}
`, filepath.Join(dir, fmt.Sprintf("access-%d.log", ports[0])), logFormat)
		const filters = "          http_filters:\n"
		f := strings.Replace(httpFilter(), filters, logs+more+filters+policies(keys), 1)
		return []string{head + listener(ports[0], "", f) + cluster(up)}
	}
}

// statsLogger makes Envoy count, by labels, what istio.stats counts. It is the
// nearest that a stock Envoy has; of Istio's 25 labels these are the ones that it knows.
func statsLogger() string {
	tags := []struct{ name, value string }{
		{"reporter", "destination"},
		{"source_address", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
		{"source_principal", "%DOWNSTREAM_PEER_URI_SAN%"},
		{"destination_service", "%UPSTREAM_CLUSTER%"},
		{"request_protocol", "%PROTOCOL%"},
		{"response_code", "%RESPONSE_CODE%"},
		{"grpc_response_status", "%GRPC_STATUS_NUMBER%"},
		{"response_flags", "%RESPONSE_FLAGS%"},
	}
	var list []string
	for _, t := range tags {
		list = append(list, fmt.Sprintf("{name: %s, value_format: %q}", t.name, t.value))
	}
	stat := func(name string) string { return fmt.Sprintf("{name: %s, tags: [%s]}", name, strings.Join(list, ", ")) }
	return fmt.Sprintf(`          - name: envoy.access_loggers.stats
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config
              stat_prefix: istio
              counters:
              - {stat: %s, value_fixed: 1}
              histograms:
              - {stat: %s, unit: Milliseconds, value_format: "%%DURATION%%"}
              - {stat: %s, unit: Bytes, value_format: "%%BYTES_RECEIVED%%"}
              - {stat: %s, unit: Bytes, value_format: "%%BYTES_SENT%%"}
`, stat("requests_total"), stat("request_duration_milliseconds"), stat("request_bytes"), stat("response_bytes"))
}
