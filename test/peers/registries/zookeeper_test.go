package registries

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/weftmesh/weft/test/freeport"
)

// zkJar is where Debian's libzookeeper-java has it.
const zkJar = "/usr/share/java/zookeeper.jar"

// ensemble is a real ZooKeeper of one server.
type ensemble struct {
	t       *testing.T
	address string
	dir     string
	cmd     *exec.Cmd
	conn    *zk.Conn
}

func zookeeper(t *testing.T) *ensemble {
	t.Helper()
	if _, err := os.Stat(zkJar); err != nil {
		t.Skip("no ZooKeeper: apt-get install libzookeeper-java")
	}
	port := int(freeport.Port(t))
	e := &ensemble{t: t, address: "127.0.0.1:" + strconv.Itoa(port), dir: t.TempDir()}
	conf := fmt.Sprintf("tickTime=500\ndataDir=%s/data\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxSessionTimeout=60000\n4lw.commands.whitelist=ruok\n", e.dir, port)
	if err := os.WriteFile(filepath.Join(e.dir, "zoo.cfg"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	e.run()
	t.Cleanup(e.kill)
	return e
}

// run starts the server, and a session of the test's own.
func (e *ensemble) run() {
	e.t.Helper()
	e.cmd = exec.Command("java", "-Xmx128m", "-cp", zkJar, "org.apache.zookeeper.server.ZooKeeperServerMain", filepath.Join(e.dir, "zoo.cfg"))
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	eventually(e.t, func() error {
		c, err := net.Dial("tcp", e.address)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("ruok")); err != nil {
			return err
		}
		answer, err := io.ReadAll(c)
		if err == nil && string(answer) != "imok" {
			err = fmt.Errorf("ZooKeeper says %q", answer)
		}
		return err
	})
	conn, _, err := zk.Connect([]string{e.address}, patience, zk.WithLogInfo(false))
	if err != nil {
		e.t.Fatal(err)
	}
	e.conn = conn
}

func (e *ensemble) kill() {
	e.conn.Close()
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// put makes a node with its parents, or gives it another content.
func (e *ensemble) put(node, data string) {
	e.t.Helper()
	var nodes []string
	for p := node; p != "/"; p = path.Dir(p) {
		nodes = append(nodes, p)
	}
	for _, p := range slices.Backward(nodes) {
		content := ""
		if p == node {
			content = data
		}
		e.do(func() error {
			_, err := e.conn.Create(p, []byte(content), 0, zk.WorldACL(zk.PermAll))
			if errors.Is(err, zk.ErrNodeExists) && p == node {
				_, err = e.conn.Set(p, []byte(content), -1)
			}
			return err
		}, zk.ErrNodeExists)
	}
}

func (e *ensemble) remove(node string) {
	e.t.Helper()
	e.do(func() error { return e.conn.Delete(node, -1) }, zk.ErrNoNode)
}

// do does something until it is done: a connection may be lost on a busy machine.
func (e *ensemble) do(f func() error, done error) {
	e.t.Helper()
	eventually(e.t, func() error {
		if err := f(); !errors.Is(err, done) {
			return err
		}
		return nil
	})
}

// provider is the node of a provider.
func provider(address, iface, more string) string {
	u := "dubbo://" + address + "/" + iface + "?interface=" + iface + "&application=demo&side=provider&pid=1&methods=a,b" + more
	return "/dubbo/" + iface + "/providers/" + url.QueryEscape(u)
}

const registryYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: zk, namespace: shop}
spec: {type: zookeeper, addresses: ["%s"]%s}
`

func TestZooKeeper(t *testing.T) {
	t.Parallel()
	e := zookeeper(t)
	cart, other := "org.x.Cart", "org.x.Other"
	e.put(provider("10.0.0.1:20880", cart, "&version=1.0.0&group=blue"), "")
	e.put(provider("10.0.0.2:20880", cart, "&tag=canary"), "")
	e.put(provider("10.0.0.2:20880", other, "&disabled=true"), "")
	p := start(t, fmt.Sprintf(registryYAML, e.address, ""))
	blue := "shop/org.x.cart-blue-1.0.0 dubbo-20880: 10.0.0.1:20880,,demo"
	p.want([]string{"tag", "application"}, "shop/org.x.cart dubbo-20880: 10.0.0.2:20880,canary,demo", blue)
	st := p.status("zk", "synced")
	if st.Services != 2 || st.Instances != 2 || st.LastSuccess.IsZero() {
		t.Errorf("status %+v", st)
	}

	t.Log("providers come and go")
	third := provider("10.0.0.3:20881", cart, "&weight=50")
	e.put(third, "")
	e.put(provider("10.0.0.4:20880", "org.x.New", ""), "")
	p.want([]string{"tag", "application"}, "shop/org.x.cart dubbo-20880,dubbo-20881: 10.0.0.2:20880,canary,demo 10.0.0.3:20881,,demo", blue, "shop/org.x.new dubbo-20880: 10.0.0.4:20880,,demo")
	e.remove(third)
	e.remove(provider("10.0.0.4:20880", "org.x.New", "")) // the last one, which stays
	all := []string{"shop/org.x.cart dubbo-20880,dubbo-20881: 10.0.0.2:20880,canary,demo", blue, "shop/org.x.new dubbo-20880: 10.0.0.4:20880,,demo"}
	p.want([]string{"tag", "application"}, all...)
	eventually(t, func() error {
		if c := p.codes(); !slices.Contains(c, "WEFT0151") {
			return fmt.Errorf("findings %v, want that the last instances stay", c)
		}
		return nil
	})

	t.Log("the registry dies, and the control plane does")
	e.kill()
	p.status("zk", "stale")
	p.want([]string{"tag", "application"}, all...)
	p.stop()
	p.run()
	p.want([]string{"tag", "application"}, all...)

	t.Log("it comes back, without what was its")
	if err := os.RemoveAll(filepath.Join(e.dir, "data")); err != nil {
		t.Fatal(err)
	}
	e.run()
	if st := p.status("zk", "synced"); st.Retained != 3 {
		t.Errorf("%d services are retained, want 3", st.Retained)
	}
	p.want([]string{"tag", "application"}, all...)
	e.put(provider("10.0.0.9:20880", cart, ""), "")
	all[0] = "shop/org.x.cart dubbo-20880,dubbo-20881: 10.0.0.9:20880,,demo"
	p.want([]string{"tag", "application"}, all...)

	t.Log("nothing is retained where that is said")
	p.write(fmt.Sprintf(registryYAML, e.address, ", retain: 0s"))
	p.want([]string{"tag", "application"}, "shop/org.x.cart dubbo-20880,dubbo-20881: 10.0.0.9:20880,,demo")
}

func TestZooKeeperApplications(t *testing.T) {
	t.Parallel()
	e := zookeeper(t)
	instance := func(address, revision, protocol, port string) {
		e.put("/services/app-a/"+address+":"+port, `{"name":"app-a","id":"`+address+`","address":"`+address+`","port":20880,"payload":{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance",
			"metadata":{"dubbo.endpoints":"[{\"port\":`+port+`,\"protocol\":\"`+protocol+`\"}]","dubbo.metadata.revision":"`+revision+`","dubbo.metadata.storage-type":"remote","zone":"z1"}}}`)
	}
	e.put("/dubbo/mapping/org.x.Pay", "app-a")
	e.put("/dubbo/metadata/app-a/r1", `{"app":"app-a","revision":"r1","services":{"g/org.x.Pay:2.0.0:dubbo":{"name":"org.x.Pay","group":"g","version":"2.0.0","protocol":"dubbo","port":-1,"path":"org.x.Pay","params":{"tier":"gold"}}}}`)
	instance("10.0.1.1", "r1", "dubbo", "20880")
	p := start(t, fmt.Sprintf(registryYAML, e.address, ", mergeVersions: true"))
	labels := []string{"group", "version", "tier", "zone"}
	p.want(labels, "shop/org.x.pay dubbo-20880: 10.0.1.1:20880,g,2.0.0,gold,z1")
	// Of one without metadata the interface is known; another interface of it comes later; one that registered in both ways counts once.
	instance("10.0.1.2", "r2", "tri", "50051")
	e.put("/dubbo/mapping/org.x.Ship", "app-b,app-a")
	e.put(provider("10.0.1.1:20880", "org.x.Pay", "&group=g&version=2.0.0&tier=silver"), "")
	p.want(labels, "shop/org.x.pay dubbo-20880,grpc-50051: 10.0.1.1:20880,g,2.0.0,silver, 10.0.1.2:50051,,,,z1", "shop/org.x.ship grpc-50051: 10.0.1.2:50051,,,,z1")
}

// TestZooKeeperConfigurators: what Dubbo's console says of providers counts in place of what they say themselves.
func TestZooKeeperConfigurators(t *testing.T) {
	t.Parallel()
	e := zookeeper(t)
	cart := "org.x.Cart"
	e.put(provider("10.0.0.1:20880", cart, ""), "")
	e.put(provider("10.0.0.2:20880", cart, ""), "")
	p := start(t, fmt.Sprintf(registryYAML, e.address, ""))
	labels := []string{"weight", "tag"}
	first, second := "10.0.0.1:20880,,", "10.0.0.2:20880,,"
	want := func(list ...string) { p.want(labels, "shop/org.x.cart dubbo-20880: "+strings.Join(list, " ")) }
	want(first, second)

	off := "/dubbo/" + cart + "/configurators/" + url.QueryEscape("override://10.0.0.1:20880/"+cart+"?category=configurators&dynamic=false&enabled=true&disabled=true")
	e.put(off, "")
	want(second)
	e.remove(off)
	want(first, second)

	rule := "/dubbo/config/dubbo/" + cart + "::.configurators"
	e.put(rule, "{configVersion: v2.7, scope: service, key: \"org.x.Cart::\", enabled: true, configs: [{addresses: [\"10.0.0.2:20880\"], side: provider, parameters: {weight: 30, tag: gray}}]}")
	second = "10.0.0.2:20880,30,gray"
	want(first, second)
	e.put(rule, "configs: 1") // which cannot be read: the one before stands
	e.put("/dubbo/config/dubbo/demo.configurators", "{scope: application, key: demo, configs: [{addresses: [10.0.0.1], parameters: {weight: 40}}]}")
	want("10.0.0.1:20880,40,", second)
	e.remove(rule)
	e.remove("/dubbo/config/dubbo/demo.configurators")
	want(first, "10.0.0.2:20880,,")
}
