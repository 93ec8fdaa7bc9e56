package mesh

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// formsLimiter is of NAME, all at the proxies of the service: for each client, counted only, and of a descriptor that an
// EnvoyFilter makes.
const formsLimiter = `apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: NAME, namespace: default}
spec:
  sets:
    _base:
      descriptor:
      - {action: {fill_interval: {seconds: 36000}, quota: 2, per: "header:x-user"}}
      - {action: {fill_interval: {seconds: 36000}, quota: 1, shadow: true}, match: [{name: x-shadow, present_match: true}]}
      - {action: {fill_interval: {seconds: 36000}, quota: 3}, custom_key: who, custom_value: bob}
      - {action: {fill_interval: {seconds: 36000}, quota: 4, strategy: global}, custom_key: who, custom_value: ann}
---
`

// moreForms: what a sends to b, what the gateway gets, how many requests a has at a time, and conditions on the numbers of
// a's own proxy.
const moreForms = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: who, namespace: default}
spec:
  configPatches:
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {rate_limits: [{actions: [{request_headers: {header_name: x-who, descriptor_key: who}}]}]}}
---
apiVersion: microservice.slime.io/v1alpha1
kind: SmartLimiter
metadata: {name: sends, namespace: default}
spec:
  workloadSelector: {app: a}
  target: {direction: outbound, host: [b.default.svc.cluster.local]}
  sets: {_base: {descriptor: [{action: {fill_interval: {seconds: 36000}, quota: 2}}]}}
---
apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: edge, namespace: istio-system}
spec:
  gateway: true
  workloadSelector: {istio: ingressgateway}
  sets: {_base: {descriptor: [{action: {fill_interval: {seconds: 36000}, quota: 2}, match: [{name: x-edge, present_match: true}], target: {direction: outbound}}]}}
---
apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: numbers, namespace: default}
spec:
  host: a
  sets:
    _base:
      descriptor:
      - {action: {concurrency: 3}}
      - {condition: "{rps}>60", action: {fill_interval: {seconds: 1}, quota: 9001}, match: [{name: x-rps, present_match: true}]}
      - {condition: "{errors}>0.5", action: {fill_interval: {seconds: 1}, quota: 9002}, match: [{name: x-errors, present_match: true}]}
      - {condition: "{p99}>0", action: {fill_interval: {seconds: 1}, quota: 9003}, match: [{name: x-latency, present_match: true}]}
`

// TestSmartLimiterForms drives requests against each form of a limit, on both engines where both have it.
func TestSmartLimiterForms(t *testing.T) {
	m, _ := startLimiter(t, 1, strings.ReplaceAll(formsLimiter, "NAME", "a")+strings.ReplaceAll(formsLimiter, "NAME", "b")+moreForms)
	passed := func(n int, path, header string) (ok int) {
		t.Helper()
		for range n {
			switch a := m.get(path, header); a.code {
			case http.StatusOK:
				ok++
			case http.StatusTooManyRequests:
			default:
				t.Fatalf("%s with %q: %d %s", path, header, a.code, a.body)
			}
		}
		return ok
	}
	for _, path := range []string{"/a/healthz", "/b/healthz"} {
		m.eventually(path+" is limited", func() error {
			if passed(5, path, "x-user: probe") != 0 {
				return fmt.Errorf("some of five requests got through")
			}
			return nil
		})
		for header, want := range map[string]int{"x-user: jo": 2, "x-user: al": 2, "x-shadow: yes": 6, "x-who: bob": 3, "x-who: eve": 6, "x-none: 1": 6} {
			if got := passed(6, path, header); got != want {
				t.Errorf("%s with %q: %d of 6 got through, want %d", path, header, got, want)
			}
		}
		// Who asks the control plane about each request goes on after a tenth of a second: a busy machine may let some through.
		for _, header := range []string{"x-who: ann", "x-edge: yes"} {
			m.eventually(path+" with "+header+" is limited", func() error {
				if n := passed(3, path, header); n != 0 {
					return fmt.Errorf("%d of 3 got through", n)
				}
				return nil
			})
		}
	}
	call := func(host string) string { return "/a/echo/call?url=" + url.QueryEscape("http://"+host+":9080/healthz") }
	m.want(call("b"), "", http.StatusOK, "429 ")
	m.want(call("a"), "", http.StatusOK, "200 ")
	m.concurrency()
	m.byNumbers()
	m.statusOf("smartlimiter", "a", "per: header:x-user", "ratelimitStatus:")
}

// concurrency holds as many requests as there may be.
func (m *mesh) concurrency() {
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+"/a/echo/hold", nil)
		if err != nil {
			m.t.Fatal(err)
		}
		resp, err := m.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			m.t.Fatalf("holding: %v %v", resp, err)
		}
		defer resp.Body.Close()
	}
	m.want("/a/healthz", "", http.StatusServiceUnavailable, "")
	cancel()
	m.want("/a/healthz", "", http.StatusOK, "")
}

// byNumbers: limits come with the numbers that a's proxy reports, and go with them.
func (m *mesh) byNumbers() {
	for header, x := range map[string]struct{ busy, limit string }{
		"x-rps": {"/a/healthz", "9001"}, "x-errors": {"/a/echo/fail", "9002"}, "x-latency": {"/a/healthz", "9003"},
	} {
		m.eventually(header+" has its limit", func() error {
			for range 40 { // above the rate, which asking for the limit is not
				m.get(x.busy, "")
			}
			_, limit, _, err := m.limited("/a/healthz", header)
			if err == nil && limit != x.limit {
				err = fmt.Errorf("limit %q", limit)
			}
			return err
		})
	}
	m.eventually("nothing is limited by the numbers of yesterday", func() error {
		for _, header := range []string{"x-rps", "x-errors"} {
			if _, limit, _, err := m.limited("/a/healthz", header); err != nil || limit != "" {
				return fmt.Errorf("%s: limit %q, %v", header, limit, err)
			}
		}
		return nil
	})
}
