package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a registry that says what a test has it say, by the first address.
type fake struct {
	mu   sync.Mutex
	says map[string]chan func(Sink) error
	made []*model.Registry // what clients were made of
}

// asks notes what a client is made of.
func (f *fake) asks(r *model.Registry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = append(f.made, r)
}

// newest is what the last client was made of.
func (f *fake) newest() *model.Registry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[len(f.made)-1]
}

func (f *fake) at(address string) chan func(Sink) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.says[address] == nil {
		f.says[address] = make(chan func(Sink) error)
	}
	return f.says[address]
}

type fakeClient struct{ says chan func(Sink) error }

func (c fakeClient) Follow(ctx context.Context, to Sink) error {
	for {
		select {
		case f := <-c.says:
			if err := f(to); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// world runs a source with fake registries.
type world struct {
	t     *testing.T
	fake  *fake
	cell  watch.Cell[*model.Snapshot]
	src   *Source
	dir   string
	stop  func()
	mu    sync.Mutex
	have  map[model.Key]*model.Service
	codes []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, fake: &fake{says: map[string]chan func(Sink) error{}}, dir: t.TempDir()}
	w.run()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) run() {
	w.have = map[model.Key]*model.Service{}
	w.src = New(Options{Snapshots: &w.cell, Dir: w.dir, Log: slog.New(slog.DiscardHandler), Makers: map[string]Maker{
		"fake": func(r *model.Registry, _ *slog.Logger) (Client, error) {
			w.fake.asks(r)
			return fakeClient{w.fake.at(r.Addresses[0])}, nil
		},
		model.ZooKeeper: func(r *model.Registry, _ *slog.Logger) (Client, error) {
			return fakeClient{w.fake.at(r.Addresses[0])}, nil
		},
	}})
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ended by stop
	out := make(chan model.Delta)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.src.Run(ctx, out) })
	wg.Go(func() {
		for {
			select {
			case d := <-out:
				w.take(d)
			case <-ctx.Done():
				return
			}
		}
	})
	w.stop = func() {
		cancel()
		wg.Wait()
	}
}

func (w *world) take(d model.Delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.Full {
		clear(w.have)
	}
	for _, k := range d.Deletes {
		delete(w.have, k)
	}
	for _, o := range d.Upserts {
		w.have[o.Head().Key] = o.(*model.Service)
	}
	w.codes = nil
	for _, f := range d.Findings {
		w.codes = append(w.codes, f.Code)
	}
}

// follow has these registries followed.
func (w *world) follow(patches []*model.RegistrySource, list ...*model.Registry) {
	w.cell.Store(&model.Snapshot{Registries: list, RegistrySources: patches})
}

var hashes uint64

// reg is a registry of one address, with what f sets.
func reg(name, address string, f func(r *model.Registry)) *model.Registry {
	hashes++
	r := &model.Registry{
		Meta: model.Meta{Key: model.Key{Kind: model.KindRegistry, Namespace: "ns", Name: name}, Hash: hashes}, Type: "fake",
		Addresses: []string{address}, Space: "ns", Protocol: model.HTTP, Retain: time.Hour,
	}
	if f != nil {
		f(r)
	}
	return r
}

// say has a registry say that it has these services, "name address:port key=value…" each, and no others.
func (w *world) say(address string, services ...string) {
	w.fake.at(address) <- func(to Sink) error {
		byName := map[string]*Service{}
		var names []string
		for _, text := range services {
			f := strings.Fields(text)
			s := byName[f[0]]
			if s == nil {
				s = &Service{Name: f[0]}
				byName[f[0]] = s
				names = append(names, f[0])
			}
			if p := strings.Split(f[0], ":"); len(p) == 3 {
				s.Dubbo = &Dubbo{p[0], p[1], p[2]}
			}
			if len(f) > 1 {
				s.Instances = append(s.Instances, instanceOf(f[1:]))
			}
		}
		for _, n := range names {
			to.Service(*byName[n])
		}
		to.Complete(names)
		return nil
	}
}

func instanceOf(f []string) Instance {
	host, port, err := net.SplitHostPort(f[0])
	if err != nil {
		panic(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		panic(err)
	}
	in := Instance{Address: host, Port: uint16(n), Labels: map[string]string{}}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		in.Labels[k] = v
	}
	return in
}

// want waits for these services: "namespace/host ports: instances with the label l".
func (w *world) want(want ...string) {
	w.t.Helper()
	w.until(func() error {
		var got []string
		for _, s := range w.have {
			var ports, list []string
			for _, p := range s.Ports {
				ports = append(ports, p.Name)
			}
			for _, e := range s.Inline {
				list = append(list, net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port)))+e.Labels["l"])
			}
			got = append(got, s.Namespace+"/"+s.Host+" "+strings.Join(ports, ",")+": "+strings.Join(list, " "))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("services\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

func (w *world) until(f func() error) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		err := f()
		w.mu.Unlock()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}

// TestMerging: services of several registries, by priority.
func TestMerging(t *testing.T) {
	w := newWorld(t)
	a, b, c := reg("a", "a", nil), reg("b", "b", nil), reg("c", "c", func(r *model.Registry) { r.Priority = 1 })
	w.follow(nil, a, b, c)
	w.say("c", "web 10.0.0.3:80", "only 10.0.0.3:81")
	w.want("ns/only http-80: 10.0.0.3:81", "ns/web http-80: 10.0.0.3:80")
	w.say("a", "web 10.0.0.1:80 l=a")
	w.say("b", "web 10.0.0.2:80", "web 10.0.0.1:80 l=b")
	w.want("ns/only http-80: 10.0.0.3:81", "ns/web http-80: 10.0.0.1:80a 10.0.0.2:80")
	// What the others remember counts less than what c has.
	w.say("a")
	w.want("ns/only http-80: 10.0.0.3:81", "ns/web http-80: 10.0.0.1:80b 10.0.0.2:80")
	w.say("b", "web")
	w.want("ns/only http-80: 10.0.0.3:81", "ns/web http-80: 10.0.0.3:80")
	w.say("c")
	w.want("ns/only http-80: 10.0.0.3:81", "ns/web http-80: 10.0.0.1:80a 10.0.0.2:80")
	// Who takes a registry out means it.
	w.follow(nil, b)
	w.want("ns/web http-80: 10.0.0.1:80b 10.0.0.2:80")
	w.follow(nil)
	w.want()
}

// TestStale: a registry that fails, or says nothing any more, takes nothing away, not even from a control plane that starts.
func TestStale(t *testing.T) {
	w := newWorld(t)
	r := reg("a", "a", nil)
	w.follow(nil, r)
	w.say("a", "web 10.0.0.1:80", "api 10.0.0.2:80")
	all := []string{"ns/api http-80: 10.0.0.2:80", "ns/web http-80: 10.0.0.1:80"}
	w.want(all...)
	w.fake.at("a") <- func(Sink) error { return errors.New("gone") }
	w.until(func() error {
		if st := w.src.Status(); len(st) != 1 || st[0].State != stale || st[0].Error != "gone" || st[0].Services != 2 || !slices.Contains(w.codes, CodeUnreachable) {
			return fmt.Errorf("status %+v, findings %v", st, w.codes)
		}
		return nil
	})
	w.want(all...)
	w.stop()
	w.cell.Store(nil)
	w.run()
	w.want(all...)
	w.follow(nil, r)
	w.say("a", "api")
	w.until(func() error {
		if st := w.src.Status(); len(st) != 1 || st[0].State != synced || st[0].Retained != 2 || !slices.Contains(w.codes, CodeRetained) {
			return fmt.Errorf("status %+v, findings %v", st, w.codes)
		}
		return nil
	})
	w.want(all...)
	w.follow(nil, reg("a", "a", func(r *model.Registry) { r.Retain = time.Millisecond }))
	w.until(func() error { // what it had stays until it has spoken
		if st := w.src.Status(); st[0].State != connecting || st[0].Services != 2 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	w.say("a", "api")
	w.want()
	// Of another registry under the same name nothing is kept that it has not.
	w.say("a", "web 10.0.0.1:80", "api 10.0.0.2:80")
	w.want(all...)
	w.follow(nil, reg("a", "b", nil))
	w.want(all...)
	w.say("b", "api 10.0.0.9:80")
	w.want("ns/api http-80: 10.0.0.9:80")
}

// TestMaking: what a registry's specification makes of its services.
func TestMaking(t *testing.T) {
	services := []string{"Web_Shop 10.0.0.1:8080 l=x ns=other", "Web_Shop 10.0.0.2:8081 l=y", "test-it 10.0.0.3:80"}
	dubbo := []string{"org.x.Cart:: 10.0.0.1:20880", "org.x.Cart:blue:1.0 10.0.0.2:20881 l=b"}
	for name, c := range map[string]struct {
		set      func(r *model.Registry)
		services []string
		want     []string
	}{
		"as it is": {nil, services, []string{"ns/test-it http-80: 10.0.0.3:80", "ns/web-shop http-80: 10.0.0.1:8080x 10.0.0.2:8081y"}},
		"names": {func(r *model.Registry) {
			r.Include, r.Exclude, r.HostSuffix, r.SpaceKey = []string{"*"}, []string{"test-*"}, ".legacy", "ns"
			r.Naming = model.RegistryNaming{Separator: ".", Parts: []model.NamePart{{Kind: "service"}, {Kind: "metadata", Value: "l"}, {Kind: "static", Value: "z"}}}
		}, services, []string{"ns/web-shop.y.z.legacy http-80: 10.0.0.2:8081y", "other/web-shop.x.z.legacy http-80: 10.0.0.1:8080x"}},
		"ports": {func(r *model.Registry) { r.Port, r.InstancePorts = 9000, true }, services[:2], []string{"ns/web-shop http-9000,http-8080,http-8081: 10.0.0.1:8080x 10.0.0.2:8081y"}},
		"selectors": {func(r *model.Registry) {
			r.Selectors = []model.InstanceSelector{{LabelSelector: model.LabelSelector{Labels: map[string]string{"l": "x"}}}, {Without: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}}}
			r.ByService = map[string][]model.InstanceSelector{"test-it": {{LabelSelector: model.LabelSelector{Expressions: []model.LabelExpression{{Key: "l", Op: "Exists"}}}}}}
		}, services, []string{"ns/web-shop http-80: 10.0.0.1:8080x"}},
		"relabel, alias": {func(r *model.Registry) {
			r.Relabel = []model.Relabel{{Key: "l", Target: "l", Created: "none", Values: map[string]string{"x": "X"}}}
			r.Aliases = map[string][]string{"test-it": {"it.example"}}
		}, services, []string{"ns/it.example http-80: 10.0.0.3:80none", "ns/test-it http-80: 10.0.0.3:80none", "ns/web-shop http-80: 10.0.0.1:8080X 10.0.0.2:8081y"}},
		"Dubbo":        {nil, dubbo, []string{"ns/org.x.cart http-20880: 10.0.0.1:20880", "ns/org.x.cart-blue-1.0 http-20881: 10.0.0.2:20881b"}},
		"Dubbo merged": {func(r *model.Registry) { r.MergeVersions = true }, dubbo, []string{"ns/org.x.cart http-20880,http-20881: 10.0.0.1:20880 10.0.0.2:20881b"}},
		"unusable":     {nil, []string{"ok 10.0.0.1:80", "noport 10.0.0.1:0", "name host.example:80", "Ümlaut 10.0.0.1:80"}, []string{"ns/ok http-80: 10.0.0.1:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.follow(nil, reg("a", "a", c.set))
			w.say("a", c.services...)
			w.want(c.want...)
			if unusable := name == "unusable"; unusable != slices.Contains(w.codes, CodeUnusable) {
				t.Errorf("findings %v", w.codes)
			}
		})
	}
}

// TestRegistrySource: Slime's lists of what counts in ZooKeeper.
func TestRegistrySource(t *testing.T) {
	w := newWorld(t)
	r := reg("a", "a", func(r *model.Registry) { r.Type = model.ZooKeeper })
	w.follow(nil, r)
	w.say("a", "org.x.A:: 10.0.0.1:20880", "org.x.A:: 10.0.0.2:20880", "org.x.B:g:1 10.0.0.1:20880", "org.x.B:g:1 10.0.0.3:20880")
	w.want("ns/org.x.a http-20880: 10.0.0.1:20880 10.0.0.2:20880", "ns/org.x.b-g-1 http-20880: 10.0.0.1:20880 10.0.0.3:20880")
	w.follow([]*model.RegistrySource{{Abnormal: map[string][]string{"": {"10.0.0.3"}, "org.x.A::": {"10.0.0.1"}}}}, r)
	w.want("ns/org.x.a http-20880: 10.0.0.2:20880", "ns/org.x.b-g-1 http-20880: 10.0.0.1:20880")
	w.follow([]*model.RegistrySource{{Available: []string{"org.x.B:g:1"}}}, r)
	w.want("ns/org.x.b-g-1 http-20880: 10.0.0.1:20880 10.0.0.3:20880")
}
