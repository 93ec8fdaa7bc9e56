package mesh

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/wire"
)

// scenario is one item of the bookstore's README. Each leaves the mesh as it
// found it, but for the routes, which are put back for it.
type scenario struct {
	name string
	run  func(t *testing.T, m *mesh, s *shop)
	// core ones run for an ordinary user too.
	core bool
}

var scenarios = []scenario{
	{"calls", calls, true},
	{"split", split, false},
	{"header", header, true},
	{"blue green", blueGreen, true},
	{"fault", fault, false},
	{"timeout", timeout, false},
	{"retries", retries, true},
	{"outlier", outlier, false},
	{"breaker", breaker, false},
	{"mirror", mirror, false},
	{"gateway TLS", gatewayTLS, true},
	{"external", external, true},
	{"strict mTLS", strict, true},
	{"denial", denial, true},
	{"upgrade", upgrade, false},
	{"metrics and logs", metricsAndLogs, false},
	{"telemetry", telemetry, false},
	{"rewriting under load", rewriting, false},
	{"control plane killed under load", killedControl, true},
	{"tables", tables, true},
}

func TestBookstoreGo(t *testing.T) { bookstore(t, options{engine: "go"}) }

func TestBookstoreEnvoy(t *testing.T) { bookstore(t, options{engine: "envoy"}) }

func TestBookstoreMixed(t *testing.T) {
	bookstore(t, options{engine: "go"}, "web", "reviews-v2", "catalog-v1", "ratings-v1", "stock")
}

func TestBookstoreAsAnOrdinaryUser(t *testing.T) { bookstore(t, options{engine: "go", user: true}) }

func bookstore(t *testing.T, o options, envoys ...string) {
	t.Parallel()
	s := newShop(t, envoys...)
	m := s.open(t, o)
	for _, sc := range scenarios {
		if (o.user || o.core) && !sc.core {
			continue
		}
		ok := t.Run(sc.name, func(t *testing.T) {
			inner := *m
			inner.t = t
			sc.run(t, &inner, s)
			inner.reset(s)
		})
		if !ok {
			m.reset(s)
		}
	}
	onDemand := strings.Contains(m.must("config", "web-0", "--made", "-o", "json"), wire.OnDemandRoute+"/")
	if want := slices.Contains(o.args, wire.ModeOnDemand); onDemand != want {
		t.Errorf("the proxy of web asks for what it uses: %t, want %t", onDemand, want)
	}
	if t.Failed() {
		t.Logf("weft up said:\n%s", last(m.out.String(), 6000))
	}
}

// reset puts the routes back and removes what scenarios add.
func (m *mesh) reset(s *shop) {
	m.t.Helper()
	remove := []string{"delete"}
	for _, f := range []string{"outlier", "external", "deny", "outsider", "strict"} {
		remove = append(remove, "-f", filepath.Join(s.dir, "try", f+".yaml"))
	}
	m.weft(remove...) // most are not there
	m.must("apply", "-f", filepath.Join(s.dir, "routing.yaml"), "-f", filepath.Join(s.dir, "gateway.yaml"))
	m.want("/api/reviews/loom", "", 200, `"version":"v1"`)
}

func calls(t *testing.T, m *mesh, _ *shop) {
	m.want("/api/books", "", 200, `"catalog":"v1"`)                              // gRPC, HTTP/1.1
	m.want("/api/quote/loom", "", 200, "[1990,3980,5970]")                       // a gRPC stream, both ways
	m.want(fetch("http://ratings:9080/ratings/weft"), "", 200, `"from":"stock"`) // the Redis protocol
	// The same over IPv6, where the machine has it. The gateway has all names, on demand too.
	var hosts []struct {
		Body struct{ Addresses []string }
	}
	if err := json.Unmarshal([]byte(m.must("config", "istio-ingressgateway-0.istio-system", "--made", "--type", "host", "--name", "reviews.default.svc.cluster.local", "-o", "json")), &hosts); err != nil || len(hosts) != 1 {
		t.Fatalf("the host reviews: %v %v", hosts, err)
	}
	six := false
	for _, a := range hosts[0].Body.Addresses {
		if strings.Contains(a, ":") {
			six = true
			m.want(fetch("http://["+a+"]:9080/reviews/loom"), "", 200, `"version":"v1"`)
		}
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		if !six {
			t.Errorf("reviews has no IPv6 address: %v", hosts[0].Body.Addresses)
		}
	}
}

// fetch makes web call a URL.
func fetch(u string) string { return "/api/fetch?url=" + url.QueryEscape(u) }

// many sends n requests over a few connections and counts answers by what key
// makes of them.
func (m *mesh) many(n int, path, header string, key func(answer) string) map[string]int {
	m.t.Helper()
	var mu sync.Mutex
	got := map[string]int{}
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				a, err := m.try(path, header)
				k := ""
				if err != nil {
					k = err.Error()
				} else {
					k = key(a)
				}
				mu.Lock()
				got[k]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return got
}

var versionField = regexp.MustCompile(`"version":"(v\d)"`)

func byVersion(a answer) string {
	if f := versionField.FindStringSubmatch(a.body); f != nil && a.code == 200 {
		return f[1]
	}
	return fmt.Sprintf("%d %s", a.code, last(a.body, 100))
}

func byCode(a answer) string { return fmt.Sprint(a.code) }

func split(t *testing.T, m *mesh, _ *shop) {
	m.apply("split")
	m.eventually("v2 gets requests", func() error {
		if got := m.many(40, "/api/reviews/loom", "", byVersion); got["v2"] == 0 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	got := m.many(5000, "/api/reviews/loom", "", byVersion)
	if got["v1"]+got["v2"] != 5000 || got["v1"] < 4500-90 || got["v1"] > 4500+90 { // four standard deviations
		t.Errorf("of 5000: %v, want 4500 ± 90 of v1 and the rest of v2", got)
	}
}

func header(t *testing.T, m *mesh, _ *shop) {
	edit := filepath.Join(m.folder, "try", "header.yaml")
	if out, code := m.weft("diff", "-f", edit); code != 1 || !strings.Contains(out, "(VirtualService default/reviews)") {
		t.Errorf("the diff before: exit code %d\n%s", code, out)
	}
	m.apply("header")
	if out, code := m.weft("diff", "-f", edit); code != 0 {
		t.Errorf("the diff after: exit code %d\n%s", code, out)
	}
	m.want("/api/reviews/loom", "end-user: ada", 200, `"version":"v3"`)
	m.explained("reviews-v3-0.default", "GET", "reviews:9080/reviews/loom", "--from", "web", "--header", "end-user=ada")
	m.explained("reviews-v1-0.default", "GET", "reviews:9080/reviews/loom", "--from", "web")
	if got := m.many(20, "/api/reviews/loom", "end-user: charles", byVersion); got["v1"] != 20 {
		t.Errorf("Charles gets %v, want v1", got)
	}
}

// explained wants a part in what `weft explain` says of a request.
func (m *mesh) explained(part string, request ...string) {
	m.t.Helper()
	if out := m.must(append([]string{"explain", "request"}, request...)...); !strings.Contains(out, part) {
		m.t.Errorf("of %v it is explained:\n%s\nwant %q", request, out, part)
	}
}

func blueGreen(_ *testing.T, m *mesh, _ *shop) {
	m.apply("green")
	m.want("/api/books", "", 200, `"catalog":"v2"`)
	m.apply("blue")
	m.want("/api/books", "", 200, `"catalog":"v1"`)
}

func fault(t *testing.T, m *mesh, _ *shop) {
	m.apply("fault")
	m.want("/api/reviews/loom", "end-user: ada", 418, "")
	got := m.many(200, "/api/reviews/loom", "end-user: ada", byCode)
	if got["418"]+got["200"] != 200 || got["418"] < 60 || got["418"] > 140 {
		t.Errorf("Ada gets %v, want about half 418", got)
	}
	if got := m.many(50, "/api/reviews/loom", "", byCode); got["200"] != 50 {
		t.Errorf("others get %v", got)
	}
}

func timeout(t *testing.T, m *mesh, _ *shop) {
	m.apply("timeout")
	m.want("/api/reviews/loom", "", 504, "")
	if a := m.get("/api/reviews/loom", ""); a.code != 504 || a.took < 400*time.Millisecond {
		t.Errorf("%d after %v, want 504 after 0.5 s and before the answer", a.code, a.took)
	}
}

func retries(t *testing.T, m *mesh, _ *shop) {
	if got := m.many(60, "/api/orders", "", byCode); got["503"] < 12 {
		t.Errorf("before: %v, want half of them 503", got)
	}
	m.apply("retries")
	m.eventually("nobody sees failures", func() error {
		if got := m.many(60, "/api/orders", "", byCode); got["200"] != 60 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

func outlier(t *testing.T, m *mesh, _ *shop) {
	if got := m.many(40, "/api/orders", "", byCode); got["503"] == 0 {
		t.Errorf("before: %v, want some 503", got)
	}
	m.apply("outlier")
	m.eventually("the bad instance is left out", func() error {
		if got := m.many(40, "/api/orders", "", byCode); got["200"] != 40 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

func breaker(t *testing.T, m *mesh, _ *shop) {
	m.apply("breaker")
	m.eventually("some are refused and some are served", func() error {
		got := m.many(32, "/api/reviews/loom", "", byCode)
		if got["503"] == 0 || got["200"] == 0 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	if out := m.admin("web-0", "/stats/prometheus"); !regexp.MustCompile(`istio_requests_total\{[^}]*response_flags="UO"`).MatchString(out) {
		t.Error("no request with the flag UO in the metrics of web")
	}
}

func mirror(t *testing.T, m *mesh, _ *shop) {
	before := m.served("reviews-v3-0")
	m.apply("mirror")
	m.eventually("v3 gets copies", func() error {
		if got := m.many(10, "/api/reviews/loom", "", byVersion); got["v1"] != 10 {
			return fmt.Errorf("answers come from %v, want v1", got)
		}
		if n := m.served("reviews-v3-0") - before; n < 10 {
			return fmt.Errorf("v3 got %d", n)
		}
		return nil
	})
	_ = t
}

var servedLine = regexp.MustCompile(`(?m)^istio_requests_total\{[^}]*reporter="destination"[^}]*\} (\S+)$`)

// served is how many requests an instance's proxy has let in.
func (m *mesh) served(instance string) int {
	m.t.Helper()
	sum := 0.0
	for _, f := range servedLine.FindAllStringSubmatch(m.admin(instance, "/stats/prometheus"), -1) {
		var v float64
		if _, err := fmt.Sscan(f[1], &v); err != nil {
			m.t.Fatalf("metrics: %v in %q", err, f[0])
		}
		sum += v
	}
	return int(sum)
}

func gatewayTLS(t *testing.T, m *mesh, s *shop) {
	m.apply("tls")
	pool := x509.NewCertPool()
	text := strings.ReplaceAll(s.read(t, "try/tls.yaml"), "\n    ", "\n")
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			pool.AddCert(cert)
		}
	}
	m.eventually("HTTPS at the gateway", func() error {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.secure), &tls.Config{ServerName: "bookstore.example.com", RootCAs: pool})
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET /api/quote/loom HTTP/1.1\r\nHost: bookstore.example.com\r\nConnection: close\r\n\r\n"); err != nil {
			return err
		}
		b, err := io.ReadAll(c)
		if err == nil && !strings.Contains(string(b), "[1990,3980,5970]") {
			err = fmt.Errorf("got %q", b)
		}
		return err
	})
}

func external(t *testing.T, m *mesh, s *shop) {
	cmd := exec.Command(filepath.Join(bin, "outside"))
	cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", s.outside))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = t.Output() // it may not get its port
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	m.apply("external")
	m.want(fetch("http://publisher.example.com/"), "", 200, `"host":"publisher.example.com"`)
}

func strict(_ *testing.T, m *mesh, _ *shop) {
	m.apply("outsider")
	through := fetch("http://outsider:8080" + fetch("http://reviews:9080/reviews/loom"))
	m.eventually("the outsider is served in permissive mode", func() error {
		if a, err := m.try(through, ""); err != nil || a.code != 200 {
			return fmt.Errorf("%v %v", a, err)
		}
		return nil
	})
	m.apply("strict")
	m.eventually("the outsider is refused", func() error {
		if a, err := m.try(through, ""); err != nil || a.code == 200 {
			return fmt.Errorf("%v %v", a, err)
		}
		return nil
	})
	m.want("/api/books", "", 200, `"catalog":"v1"`)
}

func denial(_ *testing.T, m *mesh, _ *shop) {
	m.apply("deny")
	m.want(fetch("http://ratings:9080/ratings/loom"), "", 403, "RBAC: access denied")
	m.explained("denied, 403: no ALLOW policy allows it: AuthorizationPolicy default/ratings", "GET", "ratings:9080/ratings/loom", "--from", "web")
	m.explained("forwarded", "GET", "ratings:9080/ratings/loom", "--from", "reviews-v3")
	m.apply("header") // v3 asks ratings, and may
	m.want("/api/reviews/loom", "end-user: ada", 200, `"ratings":"v1"`)
}

func upgrade(t *testing.T, m *mesh, s *shop) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.gateway))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET /echo/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(c, word); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(word))
		if _, err := io.ReadFull(r, b); err != nil || string(b) != word {
			t.Fatalf("echo: %q %v", b, err)
		}
	}
	_ = m
}

func metricsAndLogs(t *testing.T, m *mesh, _ *shop) {
	m.get("/api/books", "")
	m.eventually("Istio's metrics", func() error {
		out := m.admin("reviews-v1-0", "/stats/prometheus")
		for _, line := range strings.Split(out, "\n") {
			if strings.HasPrefix(line, "istio_requests_total{") && containsAll(line,
				`reporter="destination"`, `source_workload="web"`, `source_principal="spiffe://cluster.local/ns/default/sa/web"`,
				`destination_workload="reviews-v1"`, `destination_principal="spiffe://cluster.local/ns/default/sa/reviews"`, `destination_service="reviews.default.svc.cluster.local"`, `destination_version="v1"`,
				`request_protocol="http"`, `response_code="200"`, `connection_security_policy="mutual_tls"`) {
				return nil
			}
		}
		return fmt.Errorf("not among\n%s", last(out, 3000))
	})
	line := regexp.MustCompile(`\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /reviews/loom HTTP/1\.1" 200 - via_upstream - "-" 0 \d+ \d+ \S+ "\S+" "[^"]+" "[0-9a-f-]{36}" "reviews:9080" "[^"]+" (outbound\|9080\|v1\|reviews\.default\.svc\.cluster\.local|inbound\|9080\|\|)`)
	m.eventually("Istio's access log", func() error {
		out := m.must("logs", "--proxy", "reviews-v1-0", "--tail", "1000")
		if !line.MatchString(out) {
			return fmt.Errorf("no such line in\n%s", last(out, 2000))
		}
		return nil
	})
	_ = t
}

// telemetry changes labels, metrics and logs of one workload.
func telemetry(t *testing.T, m *mesh, _ *shop) {
	m.apply("telemetry")
	defer m.weft("delete", "telemetry", "reviews")
	counted := func(out, family string) bool {
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, family) && containsAll(line, `reporter="destination"`, `path="/reviews/counted"`, `response_code="200"`) &&
				!strings.Contains(line, "source_app=") {
				return true
			}
		}
		return false
	}
	m.eventually("the label path", func() error {
		m.get("/api/reviews/counted", "")
		if out := m.admin("reviews-v1-0", "/stats/prometheus"); !counted(out, "istio_requests_total{") {
			return fmt.Errorf("not among\n%s", last(out, 3000))
		}
		return nil
	})
	if out := m.admin("reviews-v1-0", "/stats/prometheus"); counted(out, "istio_request_bytes_count{") {
		t.Error("other metrics have the label too")
	}
	// What is counted in the new way is logged in the new way. A connection that
	// still is with the old chain, which drains, does both in the old way.
	asked, found := 0, ""
	m.eventually("a request that is counted", func() error {
		asked++
		m.get(fmt.Sprintf("/api/reviews/unlogged-%d", asked), "")
		out := m.admin("reviews-v1-0", "/stats/prometheus")
		for n := range asked {
			if path := fmt.Sprintf("/reviews/unlogged-%d", n+1); strings.Contains(out, `path="`+path+`"`) {
				found = path
				return nil
			}
		}
		return errors.New("not yet")
	})
	if out := m.must("logs", "--proxy", "reviews-v1-0", "--tail", "1000"); strings.Contains(out, `"GET `+found+` `) {
		t.Error("a request that went well is logged")
	}
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
