package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/test/space"
)

// patience is for a machine that has much else to do.
const patience = 90 * time.Second

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

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf.Bytes()
	return string(b[max(0, len(b)-6000):])
}

// running is a pod that runs.
type running struct {
	t    *testing.T
	spec *corev1.Pod
	*space.Space
	ip  string
	dir string // the root of its files
	// bin are the programs of images.
	bin map[string]string
	// proxy is the process of the sidecar.
	proxy *exec.Cmd
	ended chan error
	log   *output
}

// volumes writes what the kubelet mounts, below the pod's folder.
func (p *running) volumes(token, root string) {
	p.t.Helper()
	var labels, notes strings.Builder
	for k, v := range p.spec.Labels {
		fmt.Fprintf(&labels, "%s=%q\n", k, v)
	}
	for k, v := range p.spec.Annotations {
		fmt.Fprintf(&notes, "%s=%q\n", k, v)
	}
	content := map[string]map[string]string{
		"istio-token": {"istio-token": token}, "istiod-ca-cert": {"root-cert.pem": root}, "istio-podinfo": {"labels": labels.String(), "annotations": notes.String()},
	}
	for _, c := range p.spec.Spec.InitContainers {
		for _, m := range c.VolumeMounts {
			dir := filepath.Join(p.dir, m.MountPath)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				p.t.Fatal(err)
			}
			for name, text := range content[m.Name] {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					p.t.Fatal(err)
				}
			}
			if len(content[m.Name]) == 0 {
				if err := os.Chmod(dir, 0o777); err != nil {
					p.t.Fatal(err)
				}
			}
		}
	}
}

// env are the variables of a container.
func (p *running) env(c *corev1.Container) map[string]string {
	fields := map[string]string{
		"metadata.name": p.spec.Name, "metadata.namespace": p.spec.Namespace, "status.podIP": p.ip, "spec.serviceAccountName": p.spec.Spec.ServiceAccountName,
		"status.hostIP": nodeIP, "spec.nodeName": "node",
	}
	out := map[string]string{"PATH": os.Getenv("PATH"), "HOME": p.dir}
	for _, e := range c.Env {
		switch f := e.ValueFrom; {
		case f == nil:
			out[e.Name] = e.Value
		case f.FieldRef != nil:
			v, ok := fields[f.FieldRef.FieldPath]
			if !ok {
				p.t.Fatalf("variable %s: nothing is known of %s", e.Name, f.FieldRef.FieldPath)
			}
			out[e.Name] = v
		case f.ResourceFieldRef != nil:
			q := c.Resources.Limits[corev1.ResourceName(strings.TrimPrefix(f.ResourceFieldRef.Resource, "limits."))]
			out[e.Name] = strconv.FormatInt(q.Value(), 10)
		}
	}
	return out
}

// command is a container's process, as its user. Who is root and may do one thing runs as
// nobody who may do that one thing, so that it cannot do any other.
func (p *running) command(c *corev1.Container, args []string) *exec.Cmd {
	p.t.Helper()
	env := p.env(c)
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	expand := func(s string) string {
		for k, v := range env {
			s = strings.ReplaceAll(s, "$("+k+")", v)
		}
		return s
	}
	full := []string{p.bin[c.Image]}
	for _, a := range args {
		full = append(full, expand(a))
	}
	cmd := exec.Command(full[0], full[1:]...)
	cmd.Dir, cmd.Env = p.dir, list
	user, group := uint32(*c.SecurityContext.RunAsUser), uint32(*c.SecurityContext.RunAsGroup)
	attr := &syscall.SysProcAttr{Pdeathsig: 0}
	const nobody = 65534
	if user == 0 {
		user, group = nobody, nobody
	}
	attr.Credential = &syscall.Credential{Uid: user, Gid: group}
	for _, capability := range c.SecurityContext.Capabilities.Add {
		if capability != "NET_ADMIN" {
			p.t.Fatalf("container %s wants %s", c.Name, capability)
		}
		attr.AmbientCaps = append(attr.AmbientCaps, unix.CAP_NET_ADMIN)
	}
	cmd.SysProcAttr = attr
	cmd.Stdout, cmd.Stderr = p.log, p.log
	return cmd
}

// run runs a process in the pod until it ends.
func (p *running) run(c *corev1.Container, args ...string) error {
	p.t.Helper()
	cmd := p.command(c, args)
	if err := p.Try(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, p.log)
	}
	return nil
}

// start runs the init containers: those that end, and the sidecar until it has started.
func (p *running) start() {
	p.t.Helper()
	for i := range p.spec.Spec.InitContainers {
		c := &p.spec.Spec.InitContainers[i]
		if c.RestartPolicy == nil {
			if err := p.run(c, c.Args...); err != nil {
				p.t.Fatalf("init container %s: %v", c.Name, err)
			}
			continue
		}
		p.proxy, p.ended = p.command(c, c.Args), make(chan error, 1)
		p.Do(p.t, p.proxy.Start)
		go func() { p.ended <- p.proxy.Wait() }()
		p.t.Cleanup(func() {
			_ = p.proxy.Process.Kill()
			if p.t.Failed() {
				p.t.Logf("--- %s\n%s", p.spec.Name, p.log)
			}
		})
		until(p.t, p.spec.Name+" has started", func() error { return probed(p.node(), p.ip, c.StartupProbe) })
	}
}

// node is where the kubelet is.
func (p *running) node() *http.Client { return theNode }

// probed asks as the kubelet does.
func probed(client *http.Client, ip string, probe *corev1.Probe) error {
	get := probe.HTTPGet
	status, body, err := get2(client, fmt.Sprintf("http://%s%s", net.JoinHostPort(ip, get.Port.String()), get.Path), nil)
	if err == nil && (status < 200 || status >= 400) {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	return err
}

// stop ends the sidecar as the kubelet does, and returns what it ended with.
func (p *running) stop() error {
	if err := p.proxy.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		return errors.New("it did not end")
	}
}

// until waits for what other processes do.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	start := time.Now()
	deadline := start.Add(patience)
	for {
		err := ok()
		if err == nil {
			t.Logf("%s: after %s", what, time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond) // a poll of other processes, which nobody tells us of
	}
}

// client is an HTTP client in a namespace, which looks names up with the server of the pod's
// resolv.conf.
func client(s *space.Space) *http.Client {
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
			err = s.Try(func() (err error) {
				c, err = (&net.Dialer{}).DialContext(ctx, network, clusterDNS+":53")
				return err
			})
			return c, err
		}}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil {
			found, err := resolver.LookupHost(ctx, host+".")
			if err != nil {
				return nil, err
			}
			host = found[0]
		}
		err = s.Try(func() (err error) {
			c, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, net.JoinHostPort(host, port))
			return err
		})
		return c, err
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}
