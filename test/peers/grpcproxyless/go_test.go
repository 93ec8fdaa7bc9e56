package grpcproxyless

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"
)

const echo = `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: grpc, port: 7070, targetPort: grpc}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

// twoServers is a mesh of two servers, a and b, and a client.
func twoServers(t *testing.T, certTTL time.Duration) (m *mesh, client *peer) {
	t.Helper()
	m = start(t, certTTL)
	m.write("echo", echo)
	m.add("a", "echo", 1).run(true)
	m.add("b", "echo", 2).run(true)
	client = m.add("client", "client", 3).run(false)
	client.expect("both answer", 4, answered("a", "b"))
	return m, client
}

const subsets = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets: [{name: a, labels: {name: a}}, {name: b, labels: {name: b}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
`

// TestRoutes: weights, matches, faults, timeouts and retries hold without a proxy.
func TestRoutes(t *testing.T) {
	t.Parallel()
	m, client := twoServers(t, 0)
	m.write("routes", subsets+`
  - match: [{headers: {to: {regex: "a|A"}}}]
    route: [{destination: {host: echo, subset: a}}]
  - match: [{uri: {prefix: /grpc.testing.TestService}, headers: {to: {exact: b}}, method: {exact: POST}}]
    route: [{destination: {host: echo, subset: b}}]
  - match: [{headers: {late: {}}}]
    timeout: 0.2s
    fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}
    route: [{destination: {host: echo, subset: a}}]
  - match: [{headers: {fail-before: {}}}]
    retries: {attempts: 2, retryOn: unavailable}
    route: [{destination: {host: echo, subset: a}}]
  - match: [{headers: {no: {}}}]
    fault: {abort: {httpStatus: 403, percentage: {value: 100}}}
    route: [{destination: {host: echo, subset: a}}]
  - match: [{withoutHeaders: {known: {exact: "yes"}}}]
    route: [{destination: {host: echo, subset: b}}]
  - route: [{destination: {host: echo, subset: a}, weight: 75}, {destination: {host: echo, subset: b}, weight: 25}]
`)
	client.expect("a by regex", 5, answered("a"), "header", "to=A")
	client.expect("b by path and method", 5, answered("b"), "header", "to=b", "header", "known=yes")
	client.expect("timeout", 1, failed("DeadlineExceeded"), "header", "late=1")
	client.expect("second retry", 3, answered("a"), "header", "fail-before=2")
	client.expect("no third retry", 1, failed("Unavailable"), "header", "fail-before=3")
	client.expect("abort", 1, failed("PermissionDenied"), "header", "no=1")
	client.expect("without the header", 5, answered("b"))
	client.expect("with another value", 5, answered("b"), "header", "known=no")

	const n = 600
	out, err := client.ask("call", "target", "xds:///echo:7070", "n", fmt.Sprint(n), "header", "known=yes")
	if err != nil {
		t.Fatal(err)
	}
	// Six standard deviations: one run in a billion is outside of them.
	if got, sd := out.servers()["a"], math.Sqrt(n*.75*.25); math.Abs(float64(got)-n*.75) > 6*sd {
		t.Errorf("a answered %d of %d calls, want about %v (%v)", got, n, n*.75, out)
	}
}

// TestNames: every way to write a service's name leads there, and one that nobody has
// fails.
func TestNames(t *testing.T) {
	t.Parallel()
	_, client := twoServers(t, 0)
	for _, name := range []string{"echo:7070", "echo.default:7070", "echo.default.svc:7070", "echo.default.svc.cluster.local:7070"} {
		out, err := client.ask("call", "target", "xds:///"+name, "n", "4")
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Errors) > 0 || len(out.By) == 0 {
			t.Errorf("%s: %v", name, out)
		}
	}
	// gRPC waits for 15 s until it takes a name that is not in an answer for none.
	out, err := client.ask("call", "target", "xds:///nobody:7070", "n", "1", "fast", "1", "timeout", "60s")
	if err != nil {
		t.Fatal(err)
	}
	if err := failed("Unavailable")(out); err != nil {
		t.Error(err)
	}
}

// TestBalancing: calls with one header value go to one server, by the rule's ring.
func TestBalancing(t *testing.T) {
	t.Parallel()
	m, client := twoServers(t, 0)
	m.write("rule", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: user}}
    connectionPool: {http: {http2MaxRequests: 50}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s}
`)
	one := func(user string) (server string) {
		client.expect("one server for "+user, 20, func(o outcome) error {
			if len(o.servers()) != 1 || len(o.Errors) > 0 {
				return fmt.Errorf("%v", o)
			}
			for s := range o.servers() {
				server = s
			}
			return nil
		}, "header", "user="+user)
		return server
	}
	seen := map[string]bool{}
	for i := range 40 {
		user := fmt.Sprint("u", i)
		s := one(user)
		if again := one(user); again != s {
			t.Errorf("%s went to %s and then to %s", user, s, again)
		}
		if seen[s] = true; len(seen) == 2 {
			return
		}
	}
	t.Errorf("40 users went to %v", seen)
}

// TestPolicy: a server without a proxy lets in whom its policies name.
func TestPolicy(t *testing.T) {
	t.Parallel()
	m, client := twoServers(t, 0)
	other := m.add("other", "client", 4).run(false)
	other.expect("everybody may", 4, answered("a", "b"))
	m.write("policy", `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]
    to: [{operation: {paths: [/grpc.testing.TestService/*], methods: [POST]}}]
  - when: [{key: "request.headers[pass]", values: [yes*]}]
  - from: [{source: {requestPrincipals: ["*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: custom}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: nobody}
  rules:
  - when: [{key: "request.headers[ask]", values: ["*"]}]
`)
	other.expect("another is refused", 4, failed("PermissionDenied"))
	client.expect("the client may", 4, answered("a", "b"))
	other.expect("who has the header may", 4, answered("a", "b"), "header", "pass=yes, please")
	client.expect("what a service would have to be asked about is refused", 4, failed("PermissionDenied"), "header", "ask=1")
}

// TestEndpoints: instances come and go without a lost call.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	m, client := twoServers(t, 0)
	load := []string{"target", "xds:///echo:7070", "id", "x", "timeout", "20s"}
	if _, err := client.ask("load", load...); err != nil {
		t.Fatal(err)
	}
	c := m.add("c", "echo", 5).run(true)
	client.expect("the third answers too", 9, answered("a", "b", "c"))
	m.remove("a")
	client.expect("two are left", 9, answered("b", "c"))
	m.stop()
	client.expect("the control plane is gone", 9, answered("b", "c"))
	m.control()
	m.remove("b")
	client.expect("the control plane is back", 9, answered("c"))
	out, err := client.ask("end", load...)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Errors) > 0 {
		t.Errorf("lost calls: %v", out.Errors)
	}
	_ = c
}

// TestRotation: certificates are replaced on both sides under traffic, again and
// again, beyond the life of the first.
func TestRotation(t *testing.T) {
	t.Parallel()
	m, client := twoServers(t, 16*time.Second)
	load := []string{"target", "xds:///echo:7070", "id", "x", "timeout", "20s"}
	if _, err := client.ask("load", load...); err != nil {
		t.Fatal(err)
	}
	server := fmt.Sprintf("127.0.%d.1:7070", m.network)
	first, err := presented(client, server)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has another certificate", func() error {
		now, err := presented(client, server)
		if err == nil && now.Cmp(first) == 0 {
			err = errors.New("it has the first one still")
		}
		return err
	})
	// One that comes now has never seen the first certificates.
	m.add("late", "client", 6).run(false).expect("a late client is served", 4, answered("a", "b"))
	out, err := client.ask("end", load...)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Errors) > 0 {
		t.Errorf("lost calls: %v", out.Errors)
	}
}

// presented is the serial number of a server's certificate, as a client with the
// agent's files sees it.
func presented(client *peer, address string) (*big.Int, error) {
	cert, err := tls.LoadX509KeyPair(client.files.Chain(), client.files.Key())
	if err != nil {
		return nil, err
	}
	nc, err := tls.Dial("tcp", address, &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, InsecureSkipVerify: true, //nolint:gosec // it is looked at, not trusted
	})
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].SerialNumber, nil
}
