package mesh

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// eurekaMesh: what is in the registry are programs of Spring's that register themselves.
const eurekaMesh = httpRegistryMesh + `---
apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: eureka, namespace: default}
spec: {type: eureka, addresses: ["http://127.0.0.1:REGISTRY/eureka"], refreshPeriod: 1s, hostSuffix: .registry}
`

// springProcess is a program of test/peers/registries/eureka.
const springProcess = `---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: shop-%[1]s, namespace: default, labels: {app: shop}}
spec:
  command: [java, -Xmx160m, "-XX:TieredStopAtLevel=1", -cp, "%[2]s/lib/*:%[2]s/classes", demo.Client, --server.port=9080, --spring.application.name=shop, "--eureka.instance.metadata-map.version=%[1]s", --eureka.instance.instance-id=%[1]s,
    --eureka.instance.lease-renewal-interval-in-seconds=1, --eureka.instance.lease-expiration-duration-in-seconds=3, "--eureka.client.service-url.defaultZone=http://host.weft.internal:%[3]d/eureka/",
    --spring.main.banner-mode=off, --logging.level.root=warn]
  ports: [{containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /echo/name, port: 9080}, failureThreshold: 1000}
`

// TestEurekaRegistry: programs of Spring's register themselves in a real Eureka, and are called through sidecars with mutual TLS.
func TestEurekaRegistry(t *testing.T) {
	target := filepath.Join(filepath.Dir(registryPrograms(t, "eureka/built")), "target")
	t.Parallel()
	port := int(freeport.Port(t))
	run := func() *exec.Cmd {
		cmd := exec.Command("java", "-Xmx160m", "-XX:TieredStopAtLevel=1", "-cp", target+"/lib/*:"+target+"/classes", "demo.Server", fmt.Sprintf("--server.port=%d", port), "--eureka.instance.hostname=127.0.0.1",
			fmt.Sprintf("--eureka.client.service-url.defaultZone=http://127.0.0.1:%d/eureka/", port), "--eureka.server.use-read-only-response-cache=false", "--eureka.server.enable-self-preservation=false",
			"--eureka.server.eviction-interval-timer-in-ms=500")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	server, text := run(), eurekaMesh
	for _, version := range []string{"v1", "v2"} {
		text += fmt.Sprintf(springProcess, version, target, port)
	}
	m := startText(t, text, options{engine: "go", unready: true}, "REGISTRY", fmt.Sprint(port))
	both := map[string]string{"": "v1", "jason": "v2"}
	m.shops("both versions are called", both)
	m.quarter()
	m.eventually("metrics", func() error {
		if !counted(m.admin("page-0", "/stats/prometheus"), "http", `connection_security_policy="mutual_tls"`) && !counted(m.admin("shop-v1-0", "/stats/prometheus"), "http", `connection_security_policy="mutual_tls"`) {
			return fmt.Errorf("no requests were counted under mutual TLS")
		}
		return nil
	})

	t.Log("one is taken out of service, by hand")
	out := fmt.Sprintf("http://127.0.0.1:%d/eureka/apps/SHOP/v1/status?value=", port)
	ask := func(method, value string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, out+value, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			t.Fatal(out, a.Status)
		}
	}
	ask(http.MethodPut, "OUT_OF_SERVICE")
	m.shops("only the second is in service", map[string]string{"any": "v2"})
	ask(http.MethodDelete, "UP")
	m.shops("both are again", both)
	m.dies("shop-v2-0")

	t.Log("the server is killed, and comes back with nothing; programs register themselves again")
	_ = server.Process.Kill()
	_ = server.Wait()
	m.eventually("the registry is stale", func() error {
		if st := m.status(); len(st.Registries) != 1 || st.Registries[0].State != "stale" {
			return fmt.Errorf("%+v", st.Registries)
		}
		return nil
	})
	m.shops("calls go on", both)
	run()
	m.eventually("the registry has both", func() error {
		if st := m.status(); len(st.Registries) != 1 || st.Registries[0].State != "synced" || st.Registries[0].Instances != 2 || st.Registries[0].Retained != 0 {
			return fmt.Errorf("%+v", st.Registries)
		}
		return nil
	})
	m.shops("calls go on", both)
}
