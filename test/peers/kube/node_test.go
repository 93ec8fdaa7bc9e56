package kube

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	kubeobjects "github.com/weftmesh/weft/kube/objects"
)

// node is a Kubernetes of one node, in namespaces of its own (node/up.sh).
type node struct {
	*kubeobjects.Client
	t     *testing.T
	state string
}

// startNode starts a node for a test, and ends it with it. WEFT_KUBE names the folder with its
// programs; with WEFT_KUBE_STATE a node that runs there is used, and stays.
func startNode(t *testing.T) *node {
	t.Helper()
	if os.Getenv("WEFT_KUBE_NODE") == "" {
		t.Skip("WEFT_KUBE_NODE is not set: it takes a whole node (make test-kube-node)")
	}
	n := &node{t: t, state: os.Getenv("WEFT_KUBE_STATE")}
	if n.state == "" {
		var err error
		if n.state, err = os.MkdirTemp("/tmp", "weft-kube-"); err != nil { // paths of sockets are short
			t.Fatal(err)
		}
		t.Cleanup(func() { n.script(nil, "down.sh") })
	}
	n.script(nil, "up.sh")
	n.connect()
	return n
}

// script runs one of the node's scripts, and returns what it prints.
func (n *node) script(stdin []byte, name string, args ...string) string {
	n.t.Helper()
	out, err := n.try(stdin, name, args...)
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (n *node) try(stdin []byte, name string, args ...string) (string, error) {
	script, err := filepath.Abs(filepath.Join("node", name))
	if err != nil {
		return "", err
	}
	c := exec.Command(script, args...) // down.sh runs when the test's context has ended
	c.Env = append(os.Environ(), "WEFT_KUBE_STATE="+n.state)
	if stdin != nil {
		c.Stdin = strings.NewReader(string(stdin))
	}
	out, err := c.CombinedOutput()
	return string(out), err
}

// inside runs a program in the node.
func (n *node) inside(args ...string) string {
	n.t.Helper()
	return n.script(nil, "in.sh", args...)
}

// load imports an image.
func (n *node) load(archive string) {
	n.t.Helper()
	n.inside("ctr", "-n", "k8s.io", "images", "import", archive)
}

// connect makes a client whose connections are made in the node's network.
func (n *node) connect() {
	n.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(n.state, "admin.kubeconfig"))
	if err != nil {
		n.t.Fatal(err)
	}
	config.QPS, config.Burst, config.Dial = 200, 400, n.dial
	if n.Client, err = kubeobjects.New(config); err != nil {
		n.t.Fatal(err)
	}
}

// dial connects from within the node: sockets keep the network that they were made in.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := os.ReadFile(filepath.Join(n.state, "init.pid"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, err
	}
	type made struct {
		c   net.Conn
		err error
	}
	out := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			out <- made{nil, err}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			out <- made{nil, err}
			return
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address) // an IP address: no other goroutine looks it up
		out <- made{c, err}
	}()
	m := <-out
	return m.c, m.err
}
