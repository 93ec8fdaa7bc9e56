package mesh

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// registryMesh: providers and a consumer of real Dubbo, which find each other by a ZooKeeper outside the mesh.
const registryMesh = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: zk, namespace: default}
spec: {type: zookeeper, addresses: ["127.0.0.1:ZOOKEEPER"]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: page, namespace: default}
---
apiVersion: v1
kind: Service
metadata: {name: page, namespace: default}
spec: {selector: {app: page}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: INGRESS, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec:
  hosts: ["*"]
  gateways: [in]
  http:
  - route: [{destination: {host: page}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: greeter, namespace: default}
spec:
  selector: {matchLabels: {app: greeter}}
  rules:
  - from: [{source: {principals: ["cluster.local/ns/default/sa/page"]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter, namespace: default}
spec:
  host: demo.greeter
  subsets: [{name: blue, labels: {track: blue}}, {name: green, labels: {track: green}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter, namespace: default}
spec:
  hosts: [demo.greeter]
  http:
  - match: [{headers: {user: {exact: jason}}}]
    route: [{destination: {host: demo.greeter, subset: green}}]
  - match: [{headers: {user: {exact: split}}}]
    route: [{destination: {host: demo.greeter, subset: blue}, weight: 75}, {destination: {host: demo.greeter, subset: green}, weight: 25}]
  - match: [{headers: {user: {exact: retry}}}]
    route: [{destination: {host: demo.greeter}}]
    retries: {attempts: 3, retryOn: "connect-failure,reset,5xx"}
  - route: [{destination: {host: demo.greeter, subset: blue}}]
`

// javaProcess is one program of test/peers/registries/dubbo.
const javaProcess = `---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: %[1]s, namespace: default, labels: {app: %[2]s}}
spec:
  command: [java, -Xmx160m, -cp, "%[3]s/lib/*:%[3]s/classes", demo.Main, %[4]s, "zookeeper://host.weft.internal:%[5]d"]
  serviceAccountName: %[6]s
  ports: [{containerPort: %[7]d}]
  readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: %[7]d}, failureThreshold: 1000}
`

// zookeeper starts Debian's, on a port of this machine.
func zookeeper(t *testing.T) int {
	t.Helper()
	const jar = "/usr/share/java/zookeeper.jar"
	if _, err := os.Stat(jar); err != nil {
		t.Skip("no ZooKeeper: apt-get install libzookeeper-java")
	}
	dir, port := t.TempDir(), int(freeport.Port(t))
	conf := fmt.Sprintf("tickTime=2000\ndataDir=%s/data\nclientPort=%d\nadmin.enableServer=false\nmaxClientCnxns=0\n", dir, port)
	if err := os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xmx128m", "-cp", jar, "org.apache.zookeeper.server.ZooKeeperServerMain", filepath.Join(dir, "zoo.cfg"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	(&mesh{t: t}).eventually("ZooKeeper listens", func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err
	})
	return port
}

// TestDubboRegistry: consumers of real Dubbo call the addresses that their registry has, and the mesh's routes decide where their requests go.
func TestDubboRegistry(t *testing.T) {
	java := os.Getenv("WEFT_DUBBO_JAVA")
	if java == "" {
		t.Skip("no Dubbo: see .ci/run, which builds test/peers/registries/dubbo and sets WEFT_DUBBO_JAVA")
	}
	t.Parallel()
	zk, text := zookeeper(t), registryMesh
	for _, color := range []string{"blue", "green"} {
		text += fmt.Sprintf(javaProcess, color, "greeter", java, "provide, "+color, zk, "default", 20880)
	}
	text += fmt.Sprintf(javaProcess, "page", "page", java, "consume", zk, "page", 9080)
	m := startText(t, text, options{engine: "go", unready: true}, "ZOOKEEPER", fmt.Sprint(zk))
	call := func(user string) string {
		a, err := m.try("/?user="+user, "")
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(a.code, " ", strings.TrimSpace(a.body))
	}
	m.eventually("the consumer has found the providers", func() error {
		if got := call(""); got != "200 blue greets you user=null" {
			return fmt.Errorf("%s", got)
		}
		if got := call("jason"); got != "200 green greets you user=jason" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	if st := m.status(); len(st.Registries) != 1 || st.Registries[0].State != "synced" || st.Registries[0].Services == 0 {
		t.Errorf("registries %+v", st.Registries)
	}
	n := map[string]int{}
	const calls = 400
	for range calls {
		n[strings.Fields(call("split"))[1]]++
	}
	if n["blue"]+n["green"] != calls || n["green"] < calls*15/100 || n["green"] > calls*35/100 {
		t.Errorf("of %d calls: %v, want a quarter green", calls, n)
	}
	m.eventually("metrics", func() error {
		if !counted(m.admin("page-0", "/stats/prometheus"), "dubbo", `connection_security_policy="mutual_tls"`) && !counted(m.admin("blue-0", "/stats/prometheus"), "dubbo", `connection_security_policy="mutual_tls"`) {
			return fmt.Errorf("no requests of Dubbo were counted under mutual TLS")
		}
		return nil
	})
	// A provider is killed while it is called: no call fails that is retried.
	for i := range 60 {
		if i == 20 {
			if err := syscall.Kill(m.instance("green-0").PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if got := call("retry"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("call %d: %s", i, got)
		}
	}
}
