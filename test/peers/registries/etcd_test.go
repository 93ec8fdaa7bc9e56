package registries

import (
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	client "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/test/freeport"
)

// etcd is a real etcd of one member.
type etcd struct {
	t       *testing.T
	address string
	args    []string
	cmd     *exec.Cmd
	client  *client.Client
}

func startEtcd(t *testing.T) *etcd {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("no etcd: apt-get install etcd-server")
	}
	port, peer := strconv.Itoa(int(freeport.Port(t))), strconv.Itoa(int(freeport.Port(t)))
	e := &etcd{t: t, address: "127.0.0.1:" + port}
	at, peers := "http://"+e.address, "http://127.0.0.1:"+peer
	e.args = []string{
		"--data-dir", t.TempDir(), "--listen-client-urls", at, "--advertise-client-urls", at, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
	}
	e.run()
	t.Cleanup(e.kill)
	c, err := client.New(client.Config{Endpoints: []string{e.address}, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	e.client = c
	return e
}

func (e *etcd) run() {
	e.t.Helper()
	e.cmd = exec.Command("etcd", e.args...)
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
}

func (e *etcd) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

func (e *etcd) put(key, value string) {
	e.t.Helper()
	if _, err := e.client.Put(e.t.Context(), key, value); err != nil {
		e.t.Fatal(err)
	}
}

const etcdYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: etcd, namespace: shop}
spec: {type: etcd, addresses: ["%s"]}
---
apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: own, namespace: shop}
spec:
  type: etcd
  addresses: ["%[1]s"]
  formats: [weft]
  root: /corp/services
  priority: 1
  hostSuffix: .corp
  instancePorts: true
  serviceHostAliases: [{host: pay, aliases: [users]}]
`

func TestEtcd(t *testing.T) {
	t.Parallel()
	e := startEtcd(t)
	dubbo := "/dubbo/org.x.Cart/providers/" + url.QueryEscape("dubbo://10.0.0.1:20880/org.x.Cart?interface=org.x.Cart&version=1.0.0")
	e.put(dubbo, "")
	e.put("/micro/registry/users/users-1", `{"name":"users","version":"latest","nodes":[{"id":"users-1","address":"10.0.0.2:8080","metadata":{"protocol":"grpc","zone":"a"}}]}`)
	e.put("/microservices/orders/o-1", `{"id":"o-1","name":"orders","version":"v2","metadata":{"tier":"gold"},"endpoints":["grpc://10.0.0.3:9000?isSecure=false","http://10.0.0.3:8000"]}`)
	e.put("/weft/services/stock/1", `{"address":"10.0.0.4","port":7000,"protocol":"tcp","weight":50}`)
	e.put("/corp/services/pay/1", `{"address":"10.0.0.5","port":8081}`)
	e.put("/corp/services/pay/2", `{"address":"10.0.0.6","port":8082,"disabled":true}`)
	p := start(t, fmt.Sprintf(etcdYAML, e.address))
	labels := []string{"version"}
	want := []string{
		"shop/orders http-80,grpc-9000: 10.0.0.3:8000,v2 10.0.0.3:9000,v2",
		"shop/org.x.cart-1.0.0 dubbo-20880: 10.0.0.1:20880,1.0.0",
		"shop/pay.corp http-80,http-8081: 10.0.0.5:8081,",
		"shop/stock tcp-80: 10.0.0.4:7000,",
		"shop/users grpc-80: 10.0.0.2:8080,latest",
	}
	p.want(labels, want...)

	t.Log("keys come and go; a service of several registries is that of the best")
	e.put("/corp/services/pay/2", `{"address":"10.0.0.6","port":8082}`)
	if _, err := e.client.Delete(t.Context(), "/micro/registry/users/users-1"); err != nil {
		t.Fatal(err)
	}
	want[2] = "shop/pay.corp http-80,http-8081,http-8082: 10.0.0.5:8081, 10.0.0.6:8082,"
	// The second registry has instances of users (its alias), the first only remembers some.
	want[4] = "shop/users http-80,http-8081,http-8082: 10.0.0.5:8081, 10.0.0.6:8082,"
	p.want(labels, want...)
	e.put("/micro/registry/users/users-2", `{"name":"users","nodes":[{"id":"users-2","address":"10.0.0.7:8080","metadata":{"protocol":"grpc"}}]}`)
	want[4] = "shop/users grpc-80: 10.0.0.7:8080,"
	p.want(labels, slices.Clone(want)...)

	t.Log("etcd dies, and comes back")
	e.kill()
	p.status("etcd", "stale")
	p.want(labels, want...)
	e.run()
	eventually(t, func() error {
		_, err := e.client.Put(t.Context(), "/weft/services/stock/1", `{"address":"10.0.0.8","port":7000,"protocol":"tcp"}`)
		return err
	})
	p.status("etcd", "synced")
	want[3] = "shop/stock tcp-80: 10.0.0.8:7000,"
	p.want(labels, want...)
	if st := p.status("own", "synced"); st.Services != 1 || time.Since(st.LastSuccess) > time.Hour {
		t.Errorf("status %+v", st)
	}
}
