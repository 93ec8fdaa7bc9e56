package registries

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// spring runs a program of test/peers/registries/eureka with settings of Spring's.
func spring(t *testing.T, class string, settings ...string) *exec.Cmd {
	t.Helper()
	dir := filepath.Dir(built(t, "eureka/built"))
	args := []string{"-Xmx160m", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(dir, "target/lib") + "/*:" + filepath.Join(dir, "target/classes"), "demo." + class, "--spring.main.banner-mode=off", "--logging.level.root=error"}
	for _, s := range settings {
		args = append(args, "--"+s)
	}
	cmd := exec.Command("java", args...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(cmd)
		if raw, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s: %s", class, raw[max(0, len(raw)-4000):])
		}
	})
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// eurekaServer is a real one, and what counts the questions that it is asked.
type eurekaServer struct {
	t            *testing.T
	port         uint16
	cmd          *exec.Cmd
	url          string // past the counter
	counted      string
	full, deltas atomic.Int64
}

func startEureka(t *testing.T, settings ...string) *eurekaServer {
	t.Helper()
	s := &eurekaServer{t: t, port: freeport.Port(t)}
	s.url = fmt.Sprintf("http://127.0.0.1:%d/eureka", s.port)
	s.run(settings...)
	to, err := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/eureka/apps":
			s.full.Add(1)
		case "/eureka/apps/delta":
			s.deltas.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.counted = front.URL
	return s
}

func (s *eurekaServer) run(settings ...string) {
	s.t.Helper()
	s.cmd = spring(s.t, "Server", append([]string{
		fmt.Sprintf("server.port=%d", s.port), "server.address=127.0.0.1", "eureka.server.use-read-only-response-cache=false", "eureka.server.eviction-interval-timer-in-ms=500",
		"eureka.instance.hostname=127.0.0.1", "eureka.client.service-url.defaultZone=" + s.url + "/", // it has no peers
	}, settings...)...)
	eventually(s.t, func() error { return s.try(http.MethodGet, "/apps", "") })
}

func (s *eurekaServer) try(method, path, body string) error {
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, a.Status, text)
	}
	return err
}

func (s *eurekaServer) do(method, path, body string) {
	s.t.Helper()
	if err := s.try(method, path, body); err != nil {
		s.t.Fatal(err)
	}
}

// register registers an instance whose lease lasts so many seconds.
func (s *eurekaServer) register(app, id, address string, port, lease int) {
	s.t.Helper()
	s.do(http.MethodPost, "/apps/"+app, fmt.Sprintf(`{"instance":{"instanceId":%q,"hostName":%q,"app":%q,"ipAddr":%q,"vipAddress":"x","status":"UP","port":{"$":%d,"@enabled":"true"},
		"securePort":{"$":443,"@enabled":"false"},"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
		"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":%d},"metadata":{"version":"v1"}}}`, id, id, app, address, port, lease))
}

// program starts one that registers itself.
func (s *eurekaServer) program(app, version string) (*exec.Cmd, uint16) {
	s.t.Helper()
	port := freeport.Port(s.t)
	cmd := spring(s.t, "Client", fmt.Sprintf("server.port=%d", port), "spring.application.name="+app, "eureka.instance.metadata-map.version="+version, "eureka.instance.ip-address=127.0.0.1",
		"eureka.instance.lease-renewal-interval-in-seconds=1", "eureka.instance.lease-expiration-duration-in-seconds=3", "eureka.client.service-url.defaultZone="+s.url+"/")
	return cmd, port
}

const eurekaRealYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: eureka, namespace: shop}
spec: {type: eureka, addresses: [%q], refreshPeriod: 200ms, hostSuffix: .eureka}
`

func TestEurekaReal(t *testing.T) {
	t.Parallel()
	s := startEureka(t, "eureka.server.enable-self-preservation=false")
	program, port := s.program("shop", "java")
	const long = 3600
	s.register("SHOP", "a", "10.0.0.1", 8080, long)
	s.register("STOCK", "b", "10.0.0.2", 80, long)
	p := start(t, fmt.Sprintf(eurekaRealYAML, s.counted))
	labels := []string{"version"}
	a, stock := "10.0.0.1:8080,v1", "shop/stock.eureka http-80: 10.0.0.2:80,v1"
	java := fmt.Sprintf("127.0.0.1:%d,java", port)
	shop := func(list ...string) string { return "shop/shop.eureka http-80: " + strings.Join(list, " ") }
	p.want(labels, shop(a, java), stock)

	t.Log("a change costs a change")
	eventually(t, func() error {
		if s.deltas.Load() < 2 {
			return fmt.Errorf("%d deltas were asked for", s.deltas.Load())
		}
		return nil
	})
	full := s.full.Load()
	s.do(http.MethodPut, "/apps/SHOP/a/status?value=OUT_OF_SERVICE", "")
	p.want(labels, shop(java), stock)
	s.do(http.MethodDelete, "/apps/SHOP/a/status?value=UP", "")
	p.want(labels, shop(a, java), stock)
	s.register("SHOP", "c", "10.0.0.3", 8080, long)
	p.want(labels, shop(a, "10.0.0.3:8080,v1", java), stock)
	s.do(http.MethodPut, "/apps/SHOP/c/metadata?version=v2", "")
	p.want(labels, shop(a, "10.0.0.3:8080,v2", java), stock)
	s.do(http.MethodDelete, "/apps/SHOP/c", "")
	p.want(labels, shop(a, java), stock)
	if n := s.full.Load(); n != full {
		t.Errorf("everything was asked for %d times during five changes: want deltas only", n-full)
	}

	t.Log("leases end: of one that was killed, and of one that never renewed its own")
	s.register("SHOP", "d", "10.0.0.4", 8080, 1)
	p.want(labels, shop(a, "10.0.0.4:8080,v1", java), stock)
	p.want(labels, shop(a, java), stock)
	end(program)
	p.want(labels, shop(a), stock)
	s.do(http.MethodDelete, "/apps/STOCK/b", "") // the last one
	eventually(t, func() error {
		if st := p.status("eureka", "synced"); st.Retained != 1 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})

	t.Log("the server is killed, and comes back with nothing")
	end(s.cmd)
	p.status("eureka", "stale")
	p.want(labels, shop(a), stock)
	s.run("eureka.server.enable-self-preservation=false")
	eventually(t, func() error {
		if st := p.status("eureka", "synced"); st.Retained != 2 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	p.want(labels, shop(a), stock)
	s.register("SHOP", "e", "10.0.0.5", 8080, long)
	p.want(labels, shop("10.0.0.5:8080,v1"), stock)
}

// TestEurekaPreservation: a server that hears too little of its instances keeps them, and so does the mesh; one without deltas
// is asked for everything.
func TestEurekaPreservation(t *testing.T) {
	t.Parallel()
	s := startEureka(t, "eureka.server.enable-self-preservation=true", "eureka.server.disable-delta=true")
	s.register("SHOP", "a", "10.0.0.1", 8080, 1)
	p := start(t, fmt.Sprintf(eurekaRealYAML, s.counted))
	want := "shop/shop.eureka http-80: 10.0.0.1:8080,v1"
	p.want([]string{"version"}, want)
	// The lease ends after two seconds, and leases are looked at twice a second: ten questions later it would be gone.
	asked := s.full.Load()
	eventually(t, func() error {
		if n := s.full.Load() - asked; n < 30 {
			return fmt.Errorf("asked %d times", n)
		}
		return nil
	})
	p.want([]string{"version"}, want)
	if st := p.status("eureka", "synced"); st.Retained != 0 {
		t.Errorf("status %+v: want that the server has it", st)
	}
}
