package proxy_test

import (
	"encoding/base64"
	nethttp "net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/test/freeport"
)

const (
	sessionType     = "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3."
	sessionByCookie = sessionType + "StatefulSession"
)

// sessionCase has three hosts of which nobody listens on the last.
func sessionCase(filter map[string]any, hosts ...string) *filterCase {
	var eps []any
	for _, h := range hosts {
		addr, port, _ := strings.Cut(h, ":")
		eps = append(eps, map[string]any{"endpoint": map[string]any{"address": map[string]any{
			"socket_address": map[string]any{"address": addr, "port_value": port},
		}}})
	}
	return &filterCase{
		Filters: []any{map[string]any{"name": "s", "typed_config": filter}},
		Cluster: map[string]any{"load_assignment": map[string]any{"cluster_name": "up", "endpoints": []any{map[string]any{"lb_endpoints": eps}}}},
		Host:    map[string]any{"response_headers_to_add": []any{map[string]any{"header": map[string]any{"key": "x-host", "value": "%UPSTREAM_REMOTE_ADDRESS%"}}}},
		Routes: []any{map[string]any{
			"match": map[string]any{"prefix": "/off"}, "route": map[string]any{"cluster": "up"},
			"typed_per_filter_config": map[string]any{"s": map[string]any{"@type": sessionType + "StatefulSessionPerRoute", "disabled": true}},
		}},
	}
}

func sessionState(kind string, config map[string]any) map[string]any {
	config["@type"] = "type.googleapis.com/envoy.extensions.http.stateful_session." + kind
	return map[string]any{"name": "envoy.http.stateful_session." + kind[:6], "typed_config": config}
}

// ask sends one request and returns status, host, and what the response tells of the session.
func ask(t *testing.T, addr, path string, header ...string) (int, string, string) {
	t.Helper()
	req, err := nethttp.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := nethttp.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode, res.Header.Get("x-host"), res.Header.Get("set-cookie") + res.Header.Get("x-session")
}

// Sessions stay where they are; tried with the real Envoy too when recording.
func TestStatefulSession(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	start := startWeft
	if *record {
		start = startEnvoy
	}
	hosts := []string{upstream(t), upstream(t)}
	run := func(filter map[string]any) string {
		t.Helper()
		addr, admin := freeport.Addr(t), freeport.Addr(t)
		filter["@type"] = sessionByCookie
		start(t, sessionCase(filter, hosts...).bootstrap(t, map[string]string{"addr": addr, "admin": admin, "up": hosts[0]}))
		ready(t, admin, addr)
		return addr
	}
	t.Run("cookie", func(t *testing.T) {
		addr := run(map[string]any{"session_state": sessionState("cookie.v3.CookieBasedSessionState",
			map[string]any{"cookie": map[string]any{"name": "sid", "path": "/app", "ttl": "120s"}})})
		_, host, cookie := ask(t, addr, "/app/x")
		re := regexp.MustCompile(`^sid="([A-Za-z0-9+/=]+)"; Max-Age=120; Path=/app; HttpOnly$`)
		m := re.FindStringSubmatch(cookie)
		if m == nil {
			t.Fatalf("set-cookie: %s", cookie)
		}
		if raw, _ := base64.StdEncoding.DecodeString(m[1]); !strings.HasPrefix(string(raw), "\n\x0f"+host+"\x10") {
			t.Errorf("the cookie holds %q, the host was %s", raw, host)
		}
		for range 6 {
			if _, got, again := ask(t, addr, "/app?x", "cookie", "a=b; sid="+m[1]); got != host || again != "" {
				t.Errorf("went to %s, not to %s; set-cookie %q", got, host, again)
			}
		}
		for path, want := range map[string]bool{"/application": false, "/off": false, "/app": true} {
			if _, _, cookie := ask(t, addr, path); (cookie != "") != want {
				t.Errorf("%s: set-cookie %q", path, cookie)
			}
		}
		old := base64.StdEncoding.EncodeToString([]byte("\n\x0f" + host + "\x10\x01")) // expired in 1970
		if _, _, cookie := ask(t, addr, "/app", "cookie", "sid="+old); cookie == "" {
			t.Error("an expired session goes on")
		}
		gone := base64.StdEncoding.EncodeToString([]byte("\n\x0b127.0.0.9:1"))
		if status, _, cookie := ask(t, addr, "/app", "cookie", "sid="+gone); status != 200 || cookie == "" {
			t.Errorf("a host that is gone: %d, set-cookie %q", status, cookie)
		}
	})
	t.Run("header", func(t *testing.T) {
		addr := run(map[string]any{
			"strict": true, "status_on_strict_destination_not_found": 502,
			"session_state": sessionState("header.v3.HeaderBasedSessionState", map[string]any{"name": "X-Session"}),
		})
		_, host, session := ask(t, addr, "/")
		if d := cmp.Diff(base64.StdEncoding.EncodeToString([]byte(host)), session); d != "" {
			t.Fatal(d)
		}
		for range 6 {
			if _, got, again := ask(t, addr, "/", "x-session", session); got != host || again != "" {
				t.Errorf("went to %s, not to %s; session %q", got, host, again)
			}
		}
		if status, _, _ := ask(t, addr, "/", "x-session", base64.StdEncoding.EncodeToString([]byte("127.0.0.9:1"))); status != 502 {
			t.Errorf("a host that is gone, strictly: %d", status)
		}
	})
}
