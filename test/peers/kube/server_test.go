// Package kube drives the control plane with a real API server of Kubernetes: what it reads,
// how soon, and what it does when the server goes away, when its watches expire, and when it
// may not read all.
//
// WEFT_KUBE names a folder with the binaries etcd and kube-apiserver; without it the tests
// are skipped. Nothing runs in the cluster: its pods are objects.
package kube

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/weftmesh/weft/test/freeport"
)

// patience is for a machine that has much else to do.
const patience = 2 * time.Minute

// Tokens of the users: one may do anything, the other what RBAC says.
const (
	admin   = "admin-token"
	limited = "limited-token"
)

// has tells whether something was ever written.
func (o *output) has(text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Contains(o.buf.Bytes(), []byte(text))
}

// cluster is an etcd and an API server.
type cluster struct {
	t         *testing.T
	dir, bin  string
	etcd      int
	port      int
	server    *exec.Cmd
	log       *output
	client    dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
}

// output keeps what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is the end of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// startCluster starts a cluster that has nothing.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	bin := os.Getenv("WEFT_KUBE")
	if bin == "" {
		t.Skip("WEFT_KUBE is not set: a folder with etcd and kube-apiserver")
	}
	c := &cluster{t: t, dir: t.TempDir(), bin: bin, etcd: int(freeport.Port(t)), port: int(freeport.Port(t)), log: &output{}}
	c.write("tokens.csv", admin+",admin,admin,system:masters\n"+limited+",limited,limited,\n")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.write("sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	peer := freeport.Port(t)
	c.run(&output{}, "etcd", "--data-dir", filepath.Join(c.dir, "etcd"), "--listen-client-urls", c.etcdURL(), "--advertise-client-urls", c.etcdURL(),
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", peer), "--log-level", "error", "--unsafe-no-fsync")
	c.up()
	return c
}

func (c *cluster) etcdURL() string { return fmt.Sprintf("http://127.0.0.1:%d", c.etcd) }

func (c *cluster) write(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// run runs a program until the test ends.
func (c *cluster) run(log *output, name string, args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.bin, name), args...) // ended by the cleanup, in order
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Logf("--- %s\n%s", name, log)
		}
	})
	return cmd
}

// up starts the API server and waits until it is ready.
func (c *cluster) up() {
	c.t.Helper()
	certs := filepath.Join(c.dir, "certs")
	c.server = c.run(c.log, "kube-apiserver", "--etcd-servers", c.etcdURL(), "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(c.port), "--cert-dir", certs, "--token-auth-file", filepath.Join(c.dir, "tokens.csv"), "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", filepath.Join(c.dir, "sa.key"),
		"--service-account-signing-key-file", filepath.Join(c.dir, "sa.key"), "--service-cluster-ip-range", "10.96.0.0/16",
		"--disable-admission-plugins", "ServiceAccount", "--watch-cache=true", "--endpoint-reconciler-type=none", "--v=1")
	c.until("the API server is ready", func() error {
		if c.client == nil {
			if err := c.connect(); err != nil {
				return err
			}
		}
		_, err := c.discovery.ServerVersion()
		if err == nil {
			_, err = c.client.Resource(namespaces).List(c.t.Context(), metav1.ListOptions{})
		}
		return err
	})
}

// down ends the API server; etcd stays.
func (c *cluster) down() {
	c.t.Helper()
	if err := c.server.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.server.Wait()
}

// config is a client's.
func (c *cluster) config(token string) *rest.Config {
	return &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", c.port), BearerToken: token, QPS: 1000, Burst: 2000,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(c.dir, "ca.crt")},
	}
}

// connect trusts the certificate that the server has made for itself.
func (c *cluster) connect() error {
	pool := x509.NewCertPool()
	raw, err := os.ReadFile(filepath.Join(c.dir, "certs", "apiserver.crt"))
	if err != nil {
		return err
	}
	block, rest := pem.Decode(raw)
	for last := block; ; block, rest = pem.Decode(rest) {
		if block == nil {
			c.write("ca.crt", string(pem.EncodeToMemory(last))) // the authority's is the last
			break
		}
		last = block
	}
	pool.AppendCertsFromPEM(raw)
	config := c.config(admin)
	if c.client, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	c.discovery = memory.NewMemCacheClient(d)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(config.Host + "/readyz")
	if err != nil {
		c.client = nil
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// kubeconfig is a file for a user.
func (c *cluster) kubeconfig(token string) string {
	c.t.Helper()
	return c.write(fmt.Sprintf("kubeconfig-%x", xxhash.Sum64String(token)), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:%d", certificate-authority: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, c.port, filepath.Join(c.dir, "ca.crt"), token))
}

// until waits for what other processes do.
func (c *cluster) until(what string, ok func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond) // a poll of other processes, which nobody tells us of
	}
}

// parse reads a document, with numbers as JSON has them; nil of an empty one.
func parse(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
		t.Fatal(err)
	}
	if u.Object == nil {
		return nil
	}
	raw, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return u
}

// apply makes or changes the objects of some documents, with their status.
func (c *cluster) apply(text string) {
	c.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		u := parse(c.t, doc)
		if u == nil {
			continue
		}
		// A server that has just started has no addresses for Services yet, and serves a kind
		// some time after it was defined.
		c.until(u.GetKind()+" "+u.GetName()+" is there", func() error { return c.put(u.DeepCopy()) })
	}
}

func (c *cluster) resource(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := u.GroupVersionKind()
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.discovery.Invalidate()
		m, err = mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.client.Resource(m.Resource).Namespace(u.GetNamespace()), nil
	}
	return c.client.Resource(m.Resource), nil
}

func (c *cluster) put(u *unstructured.Unstructured) error {
	r, err := c.resource(u)
	if err != nil {
		return err
	}
	status, has := u.Object["status"]
	options := metav1.ApplyOptions{FieldManager: "test", Force: true}
	got, err := r.Apply(c.t.Context(), u.GetName(), u, options)
	if err != nil || !has {
		return err
	}
	got.Object["status"] = status
	_, err = r.UpdateStatus(c.t.Context(), got, metav1.UpdateOptions{})
	return err
}

// remove removes an object at once.
func (c *cluster) remove(apiVersion, kind, namespace, name string) {
	c.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetNamespace(namespace)
	r, err := c.resource(u)
	if err != nil {
		c.t.Fatal(err)
	}
	now := int64(0)
	if err := r.Delete(context.WithoutCancel(c.t.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		c.t.Fatal(err)
	}
}

var errNotYet = errors.New("not yet")
