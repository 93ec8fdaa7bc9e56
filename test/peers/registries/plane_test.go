// Package registries drives the sources of registries against the real things, where these are to be had: a control plane follows ZooKeeper
// (Debian's jars), etcd (its Go module) and others, and a fake for those that are not. A peer that is missing skips its tests, visibly.
package registries

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
)

// patience bounds each wait for a condition.
const patience = time.Minute

// plane is a control plane over a folder.
type plane struct {
	t      *testing.T
	dir    string // with mesh.yaml and what the control plane keeps
	set    func(*control.Options)
	client *http.Client
	stop   func()
}

// start runs a control plane with this configuration.
func start(t *testing.T, yaml string) *plane {
	t.Helper()
	return startWith(t, yaml, func(*control.Options) {})
}

// startWith does so with options of its own.
func startWith(t *testing.T, yaml string, set func(*control.Options)) *plane {
	t.Helper()
	dir, err := os.MkdirTemp("", "wr") // a short path: unix sockets have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &plane{t: t, dir: dir, set: set}
	for _, d := range []string{"config", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.write(yaml)
	p.run()
	t.Cleanup(func() { p.stop() })
	return p
}

// run starts the control plane, which a test may have stopped.
func (p *plane) run() {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ended by stop
	socket := filepath.Join(p.dir, "console")
	ended := make(chan error, 1)
	o := control.Options{
		Config: []string{filepath.Join(p.dir, "config")}, StateDir: filepath.Join(p.dir, "state"), XDSSocket: filepath.Join(p.dir, "xds"), ConsoleSocket: socket,
		Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	}
	p.set(&o)
	go func() { ended <- control.Run(ctx, o) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
		p.stop = func() {}
	}
	p.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

func (p *plane) write(yaml string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "config", "mesh.yaml"), []byte(yaml), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) get(path string, v any) error {
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://weft"+path, http.NoBody)
	if err != nil {
		return err
	}
	a, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, a.Status)
	}
	return json.NewDecoder(a.Body).Decode(v)
}

// services are those of registries, as lines: "namespace/host ports: address:port{labels that were asked for} …".
func (p *plane) services(labels ...string) ([]string, error) {
	var st console.State
	if err := p.get("/v1/state", &st); err != nil {
		return nil, err
	}
	var out []string
	for _, src := range st.Sources {
		for _, o := range src.Objects {
			if s, ok := o.(*model.Service); ok && s.Registry != "" {
				out = append(out, line(s, labels))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

func line(s *model.Service, labels []string) string {
	var ports, list []string
	for _, p := range s.Ports {
		ports = append(ports, p.Name)
	}
	for _, e := range s.Inline {
		text := net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port)))
		for _, l := range labels {
			text += "," + e.Labels[l]
		}
		list = append(list, text)
	}
	return s.Namespace + "/" + s.Host + " " + strings.Join(ports, ",") + ": " + strings.Join(list, " ")
}

// want waits until the services are these.
func (p *plane) want(labels []string, want ...string) {
	p.t.Helper()
	eventually(p.t, func() error {
		got, err := p.services(labels...)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("services\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return err
	})
}

// status waits until a registry is in a state, and returns how it stands.
func (p *plane) status(name, state string) (found model.RegistryStatus) {
	p.t.Helper()
	eventually(p.t, func() error {
		var list []model.RegistryStatus
		if err := p.get("/v1/registries", &list); err != nil {
			return err
		}
		for _, r := range list {
			if found = r; r.Registry.Name == name && r.State == state {
				return nil
			}
		}
		return fmt.Errorf("registries %+v, want %s %s", list, name, state)
	})
	return found
}

// codes are the codes of all Findings.
func (p *plane) codes() []string {
	p.t.Helper()
	var list []model.Finding
	if err := p.get("/v1/findings", &list); err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, f := range list {
		out = append(out, f.Code)
	}
	return out
}

// finding waits for a Finding of a code that says something.
func (p *plane) finding(code, part string) {
	p.t.Helper()
	eventually(p.t, func() error {
		var list []model.Finding
		if err := p.get("/v1/findings", &list); err != nil {
			return err
		}
		for _, f := range list {
			if f.Code == code && strings.Contains(f.Message, part) {
				return nil
			}
		}
		return fmt.Errorf("findings %+v, want %s with %q", list, code, part)
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
