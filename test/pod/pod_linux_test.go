package pod

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/kube/inject"
	"github.com/weftmesh/weft/test/space"
)

// Addresses: the node's, at which the control plane is, of the pods, and of a resolver that
// nobody is at.
const (
	nodeIP, shopIP, callerIP = "10.204.0.1", "10.204.0.2", "10.204.0.3"
	clusterDNS               = "10.96.0.10"
)

// theNode is a client on the node: the kubelet, or anybody without a proxy.
var theNode *http.Client

// configuration is the mesh's: a service of one workload, a caller, and mutual TLS only.
const configuration = `apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: shop, namespace: default}
spec: {address: ` + shopIP + `, labels: {app: shop}, serviceAccount: shop}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: caller, namespace: default}
spec: {address: ` + callerIP + `, labels: {app: caller}, serviceAccount: caller}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`

// node is the machine: a bridge, the control plane, and the pods' images.
type node struct {
	t    *testing.T
	dir  string
	here *space.Space
	key  *rsa.PrivateKey
	bin  map[string]string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), here: space.New(t), bin: map[string]string{}}
	if err := os.Chmod(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(n.dir), 0o755); err != nil { // the test's own, which the proxy's user goes through
		t.Fatal(err)
	}
	var err error
	if n.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	n.here.Bridge(t, "br0")
	n.here.Up(t, "br0", []string{nodeIP + "/24"})
	theNode = client(n.here)
	for _, name := range []string{"weft", "weft-proxy"} {
		to := filepath.Join(n.dir, name)
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", to, "github.com/weftmesh/weft/cmd/"+name).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
		n.bin[name+":test"] = to
	}
	n.control()
	return n
}

// control starts the control plane.
func (n *node) control() {
	n.t.Helper()
	n.write("config/mesh.yaml", configuration)
	n.write("jwks.json", n.jwks())
	log := &output{}
	cmd := exec.Command(n.bin["weft:test"], "control", "--config", filepath.Join(n.dir, "config"), "--state-dir", filepath.Join(n.dir, "state"),
		"--console-socket", filepath.Join(n.dir, "console.sock"), "--xds", nodeIP+":15012", "--token-issuer", "test="+filepath.Join(n.dir, "jwks.json"))
	cmd.Stdout, cmd.Stderr = log, log
	n.here.Do(n.t, cmd.Start)
	n.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if n.t.Failed() {
			n.t.Logf("--- control plane\n%s", log)
		}
	})
	until(n.t, "the control plane has a root", func() error {
		_, err := os.Stat(filepath.Join(n.dir, "state/ca-cert.pem"))
		if err == nil {
			_, err = os.Stat(filepath.Join(n.dir, "console.sock"))
		}
		return err
	})
}

func (n *node) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) jwks() string {
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"one","n":%q,"e":%q}]}`, b64(n.key.N.Bytes()), b64(big.NewInt(int64(n.key.E)).Bytes()))
}

// token is a service account's, as Kubernetes makes it.
func (n *node) token(account string) string {
	n.t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			n.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]any{"alg": "RS256", "kid": "one"}) + "." + part(map[string]any{
		"iss": "test", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:default:" + account,
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, n.key, crypto.SHA256, sum[:])
	if err != nil {
		n.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// pod injects a pod and makes its network and its files.
func (n *node) pod(name, ip string, change func(*corev1.Pod)) *running {
	n.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}, Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{ServiceAccountName: name, Containers: []corev1.Container{{Name: name, Image: name}}},
	}
	if change != nil {
		change(p)
	}
	mesh, err := inject.ParseMesh([]byte(`{defaultConfig: {terminationDrainDuration: 2s, proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}}}`))
	if err != nil {
		n.t.Fatal(err)
	}
	i, err := inject.New(inject.Settings{Image: "weft-proxy:test", AgentImage: "weft:test", ControlPlane: nodeIP + ":15012"}, mesh)
	if err != nil {
		n.t.Fatal(err)
	}
	got, err := i.Inject(inject.Request{Pod: p, Namespace: inject.Namespace{Name: "default"}})
	if err != nil || got.Pod == nil || len(got.Findings) > 0 {
		n.t.Fatalf("%v, %q, %v", err, got.Reason, got.Findings)
	}
	root, err := os.ReadFile(filepath.Join(n.dir, "state/ca-cert.pem"))
	if err != nil {
		n.t.Fatal(err)
	}
	r := &running{t: n.t, spec: got.Pod, Space: space.New(n.t), ip: ip, dir: filepath.Join(n.dir, "pods", name), bin: n.bin, log: &output{}}
	space.Cable(n.t, r.Space, n.here, "eth0", "to-"+name)
	n.here.Bridge(n.t, "br0", "to-"+name)
	r.Up(n.t, "eth0", []string{ip + "/24"}, nodeIP)
	r.volumes(n.token(name), string(root))
	return r
}

// program is the shop's: it says who called, whether it is well, and has a metric.
type program struct{ bad atomic.Bool }

func (s *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/up":
		if s.bad.Load() {
			http.Error(w, "no stock", http.StatusServiceUnavailable)
		}
	case "/numbers":
		fmt.Fprintln(w, "shop_orders_total 7")
	default:
		fmt.Fprintf(w, "shop, called by %s", r.Header.Get("X-Forwarded-Client-Cert"))
	}
}

// get2 asks, and returns status and body.
func get2(c *http.Client, url string, post io.Reader) (int, string, error) {
	method := http.MethodGet
	if post != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, post)
	if err != nil {
		return 0, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// TestInjectedPods: two pods talk by mutual TLS, and the kubelet, Prometheus and the pod's
// end find what they need.
func TestInjectedPods(t *testing.T) {
	n := newNode(t)
	shop := n.pod("shop", shopIP, func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/up", Port: intstr.FromInt32(8080)}}}
		p.Annotations["prometheus.io/port"], p.Annotations["prometheus.io/path"] = "8080", "/numbers"
	})
	caller := n.pod("caller", callerIP, nil)
	shop.start()
	caller.start()
	own := &program{}
	srv := &http.Server{Handler: own, ReadHeaderTimeout: time.Minute}
	l := shop.Listen(t, ":8080")
	go func() { _ = srv.Serve(l) }()

	calls := client(caller.Space)
	call := func() error {
		status, body, err := get2(calls, "http://shop.default.svc.cluster.local/", nil)
		if err != nil || status != http.StatusOK || !strings.Contains(body, "URI=spiffe://cluster.local/ns/default/sa/caller") {
			return fmt.Errorf("%d %q %w", status, body, err)
		}
		return nil
	}
	until(t, "the caller reaches the shop by its name, with its identity", call)
	if status, body, err := get2(theNode, "http://"+shopIP+":8080/", nil); err == nil && status == http.StatusOK {
		t.Errorf("who has no proxy reaches the shop: %q", body)
	}
	n.probes(shop, own)
	n.metrics(shop)
	if status, _, err := get2(theNode, "http://"+shopIP+":15020/quitquitquit", strings.NewReader("")); err != nil || status != http.StatusForbidden {
		t.Errorf("anybody may end the proxy: %d %v", status, err)
	}
	n.end(shop, caller, call)
}

// probes asks as the kubelet does.
func (n *node) probes(shop *running, own *program) {
	n.t.Helper()
	probe := shop.spec.Spec.Containers[0].ReadinessProbe
	if err := probed(theNode, shopIP, probe); err != nil {
		n.t.Errorf("the shop is well: %v", err)
	}
	own.bad.Store(true)
	if err := probed(theNode, shopIP, probe); err == nil || !strings.Contains(err.Error(), "503: no stock") {
		n.t.Errorf("the shop is not well: %v", err)
	}
	own.bad.Store(false)
	if err := probed(theNode, shopIP, shop.spec.Spec.InitContainers[1].ReadinessProbe); err != nil {
		n.t.Errorf("the proxy is ready: %v", err)
	}
}

// metrics asks as Prometheus does.
func (n *node) metrics(shop *running) {
	n.t.Helper()
	a := shop.spec.Annotations
	_, body, err := get2(theNode, "http://"+shopIP+":"+a["prometheus.io/port"]+a["prometheus.io/path"], nil)
	for _, want := range []string{"shop_orders_total 7", `istio_requests_total{`, `source_principal="spiffe://cluster.local/ns/default/sa/caller"`} {
		if err != nil || !strings.Contains(body, want) {
			n.t.Errorf("metrics have no %s: %v, %d bytes", want, err, len(body))
		}
	}
}

// end ends pods as the kubelet does: the handler first, the proxy when the programs have
// gone; until then they may call.
func (n *node) end(shop, caller *running, call func() error) {
	n.t.Helper()
	proxy := &caller.spec.Spec.InitContainers[1]
	if err := caller.run(proxy, proxy.Lifecycle.PreStop.Exec.Command[1:]...); err != nil {
		n.t.Fatal(err)
	}
	if err := probed(theNode, callerIP, proxy.ReadinessProbe); err == nil {
		n.t.Error("a pod that is about to end is ready")
	}
	if err := call(); err != nil {
		n.t.Errorf("a program that is about to end cannot call: %v", err)
	}
	for _, p := range []*running{caller, shop} {
		start := time.Now()
		if err := p.stop(); err != nil {
			n.t.Errorf("%s ended with %v", p.spec.Name, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			n.t.Errorf("%s took %s to end", p.spec.Name, took)
		}
	}
}
