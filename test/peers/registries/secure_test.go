package registries

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	client "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/test/freeport"
)

// secureYAML is a registry behind mutual TLS, with a login, all in a Secret.
const secureYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: secure, namespace: shop}
spec: {type: %[1]s, addresses: ["%[2]s"], credentialName: login, tls: {}}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: shop}
stringData: {username: weft, password: %[3]q, ca.crt: %[4]q, tls.crt: %[4]q, tls.key: %[5]q}
`

// keys is a certificate that is its own authority: files, their content, and a client that has it.
type keys struct {
	cert, key         string
	certText, keyText string
	client            *tls.Config
}

func newKeys(t *testing.T) keys {
	t.Helper()
	k := keys{}
	k.cert, k.key = certificate(t, t.TempDir())
	for file, to := range map[string]*string{k.cert: &k.certText, k.key: &k.keyText} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		*to = string(raw)
	}
	pair, err := tls.X509KeyPair([]byte(k.certText), []byte(k.keyText))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(k.certText))
	k.client = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}
	return k
}

// yaml is the configuration for a type at an address.
func (k keys) yaml(kind, address, password string) string {
	return fmt.Sprintf(secureYAML, kind, address, password, k.certText, k.keyText)
}

func TestSecureEtcd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("no etcd: apt-get install etcd-server")
	}
	k := newKeys(t)
	port, peer := strconv.Itoa(int(freeport.Port(t))), strconv.Itoa(int(freeport.Port(t)))
	at, peers := "https://127.0.0.1:"+port, "http://127.0.0.1:"+peer
	e := &etcd{t: t, address: "127.0.0.1:" + port, args: []string{
		"--data-dir", t.TempDir(), "--listen-client-urls", at, "--advertise-client-urls", at, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
		"--cert-file", k.cert, "--key-file", k.key, "--trusted-ca-file", k.cert, "--client-cert-auth",
	}}
	e.run()
	t.Cleanup(e.kill)
	c, err := client.New(client.Config{Endpoints: []string{e.address}, DialTimeout: patience, Logger: zap.NewNop(), TLS: k.client})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e.client = c
	e.put("/weft/services/stock/1", `{"address":"10.0.0.4","port":7000,"protocol":"tcp"}`)
	for user, role := range map[string]string{"root": "root", "weft": "reader"} {
		if role != "root" {
			if _, err := c.RoleAdd(t.Context(), role); err != nil {
				t.Fatal(err)
			}
			if _, err := c.RoleGrantPermission(t.Context(), role, "/", "0", client.PermissionType(client.PermRead)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.UserAdd(t.Context(), user, "secret"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.UserGrantRole(t.Context(), user, role); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := start(t, k.yaml("etcd", e.address, "wrong"))
	p.refused("secure", "authentication failed")
	p.write(k.yaml("etcd", e.address, "secret"))
	want := "shop/stock tcp-80: 10.0.0.4:7000"
	p.want(nil, want)
	p.write(newKeys(t).yaml("etcd", e.address, "secret")) // of another authority
	p.because("secure", "")
	p.want(nil, want)
}

// refused waits until a registry that has never said anything is refused for a reason.
func (p *plane) refused(name, part string) {
	p.t.Helper()
	p.status(name, "connecting")
	p.finding("WEFT0150", part)
}

func TestSecureZooKeeper(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(zkJar); err != nil {
		t.Skip("no ZooKeeper: apt-get install libzookeeper-java")
	}
	k := newKeys(t)
	dir, port := t.TempDir(), strconv.Itoa(int(freeport.Port(t)))
	store := filepath.Join(dir, "store.pem")
	conf := fmt.Sprintf(`tickTime=500
dataDir=%[1]s/data
secureClientPort=%[2]s
secureClientPortAddress=127.0.0.1
admin.enableServer=false
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location=%[3]s
ssl.trustStore.location=%[3]s
ssl.hostnameVerification=false
`, dir, port, store)
	for file, text := range map[string]string{store: k.keyText + k.certText, filepath.Join(dir, "zoo.cfg"): conf} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("java", "-Xmx128m", "-cp", zkJar+":/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar", "org.apache.zookeeper.server.ZooKeeperServerMain", filepath.Join(dir, "zoo.cfg"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	address := "127.0.0.1:" + port
	eventually(t, func() error {
		c, err := tls.Dial("tcp", address, k.client)
		if err == nil {
			c.Close()
		}
		return err
	})
	conn, _, err := zk.Connect([]string{address}, patience, zk.WithLogInfo(false), zk.WithDialer(func(network, address string, patience time.Duration) (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: patience}, network, address, k.client)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e := &ensemble{t: t, address: address, conn: conn}
	cart := provider("10.0.0.1:20880", "org.x.Cart", "")
	e.put(cart, "")
	for node := filepath.Dir(cart); node != "/"; node = filepath.Dir(node) {
		e.do(func() error {
			_, err := conn.SetACL(node, append(zk.DigestACL(zk.PermAll, "weft", "secret"), zk.WorldACL(zk.PermAdmin)...), -1)
			return err
		}, nil)
	}
	p := start(t, k.yaml("zookeeper", address, "wrong"))
	p.refused("secure", "not authenticated")
	p.write(k.yaml("zookeeper", address, "secret"))
	p.want(nil, "shop/org.x.cart dubbo-20880: 10.0.0.1:20880")
}
