package nacos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers as Nacos does, over HTTP, and over gRPC unless it is old.
type server struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[string][]host
	links map[grpc.ServerStream]bool
	acks  chan string
	base  string
}

func newServer(t *testing.T, old bool) *server {
	t.Helper()
	s := &server{t: t, hosts: map[string][]host{}, links: map[grpc.ServerStream]bool{}, acks: make(chan string, 16)}
	var web, rpc net.Listener
	for range 100 { // a pair of ports
		var err error
		if web, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if rpc, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(web.Addr().(*net.TCPAddr).Port+grpcOffset)); err == nil {
			break
		}
		web.Close()
	}
	s.base = "http://" + web.Addr().String()
	h := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	g := grpc.NewServer(grpc.ForceServerCodec(codec{}))
	g.RegisterService(&grpc.ServiceDesc{ServiceName: "Request", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "request", Handler: s.request}}}, s)
	g.RegisterService(&grpc.ServiceDesc{ServiceName: "BiRequestStream", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{StreamName: "requestBiStream", Handler: s.stream, ClientStreams: true, ServerStreams: true}}}, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Serve(web) })
	if old {
		rpc.Close()
	} else {
		wg.Go(func() { _ = g.Serve(rpc) })
	}
	t.Cleanup(func() {
		h.Close()
		g.Stop()
		wg.Wait()
	})
	return s
}

func (s *server) info(name string) serviceInfo {
	return serviceInfo{Name: name, GroupName: "g", Hosts: s.hosts[name], LastRefTime: time.Now().UnixMilli()}
}

func (s *server) request(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var p payload
	if err := dec(&p); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := map[string]any{"resultCode": 200}
	switch {
	case p.kind == "ServerCheckRequest" || p.kind == "HealthCheckRequest":
	case len(s.links) == 0:
		reply = map[string]any{"resultCode": 500, "errorCode": unregistered, "message": "Connection is unregistered."}
	case p.kind == "ServiceListRequest":
		names := []string{"consumers:org.x.Cart::"}
		for n := range s.hosts {
			names = append(names, n)
		}
		reply["count"], reply["serviceNames"] = len(names), names
	case p.kind == "SubscribeServiceRequest":
		var r subscribeServiceRequest
		if err := json.Unmarshal(p.body, &r); err != nil || r.GroupName != "g" || r.Namespace != "ns" {
			return nil, fmt.Errorf("subscription %s: %w", p.body, err)
		}
		reply["serviceInfo"] = s.info(r.ServiceName)
	default:
		return nil, fmt.Errorf("a request of the type %s", p.kind)
	}
	body, err := json.Marshal(reply)
	return &payload{kind: strings.TrimSuffix(p.kind, "Request") + "Response", body: body}, err
}

func (s *server) stream(_ any, st grpc.ServerStream) error {
	for {
		var p payload
		if err := st.RecvMsg(&p); err != nil {
			s.mu.Lock()
			delete(s.links, st)
			s.mu.Unlock()
			return err
		}
		if p.kind == "ConnectionSetupRequest" {
			s.mu.Lock()
			s.links[st] = true
			s.mu.Unlock()
			continue
		}
		s.acks <- p.kind + " " + string(p.body)
	}
}

// set sets the instances of a service, and pushes them.
func (s *server) set(name string, hosts ...host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[name] = hosts
	for st := range s.links {
		body, err := json.Marshal(notifySubscriberRequest{RequestID: "9", ServiceInfo: s.info(name)})
		if err != nil {
			s.t.Error(err)
		}
		if err := st.SendMsg(&payload{kind: "NotifySubscriberRequest", body: body}); err != nil {
			s.t.Error(err)
		}
	}
}

// ServeHTTP implements http.Handler: the API of version 1.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	switch r.URL.Path {
	case "/nacos/v1/auth/login":
		if r.PostFormValue("username") != "u" || r.PostFormValue("password") != "p" {
			http.Error(w, "unknown user!", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"accessToken":"t","tokenTtl":18000}`)
		return
	case "/nacos/v1/ns/service/list":
		names := []string{}
		for n := range s.hosts {
			names = append(names, n)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"count": len(names), "doms": names})
	case "/nacos/v1/ns/instance/list":
		name, ok := strings.CutPrefix(q.Get("serviceName"), "g@@")
		if !ok || q.Get("accessToken") != "t" || q.Get("namespaceId") != "ns" {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		info := s.info(name)
		info.Name = q.Get("serviceName")
		_ = json.NewEncoder(w).Encode(info)
	default:
		http.NotFound(w, r)
	}
}

// told collects what a client says.
type told struct {
	mu       sync.Mutex
	services map[string]registry.Service
	whole    int
}

func (k *told) Service(s registry.Service) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.services[s.Name] = s
}

func (k *told) Complete([]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole++
}

func (k *told) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	if k.whole == 0 {
		return out
	}
	for _, s := range k.services {
		for _, in := range s.Instances {
			out = append(out, fmt.Sprint(s.Name, " ", s.Dubbo, " ", in.Address, ":", in.Port, " ", in.Protocol, " ", in.Weight, " ", in.Off, " ", in.Labels["zone"]))
		}
	}
	slices.Sort(out)
	return out
}

func (k *told) want(t *testing.T, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got := k.lines()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func up(ip string, zone string) host {
	return host{IP: ip, Port: 8080, Weight: 1, Healthy: true, Enabled: true, Metadata: map[string]string{"zone": zone}}
}

func follow(t *testing.T, s *server) (*told, func() error) {
	t.Helper()
	c, err := New(&model.Registry{
		Type: model.Nacos, Addresses: []string{s.base}, Groups: []string{"g"}, Scope: "ns", Username: "u", Password: model.PrivateBytes("p"), Refresh: 50 * time.Millisecond,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	k := &told{services: map[string]registry.Service{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Follow(ctx, k) }()
	end := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = end() })
	return k, end
}

func TestFollow(t *testing.T) {
	for name, old := range map[string]bool{"gRPC": false, "HTTP of version 1": true} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, old)
			s.hosts["web"] = []host{up("10.0.0.1", "a"), {IP: "10.0.0.2", Port: 8080, Weight: 1, Enabled: true}, {IP: "10.0.0.3", Port: 8080, Healthy: true, Enabled: true}}
			s.hosts["providers:org.x.Cart:1.0:blue"] = []host{{IP: "10.0.0.4", Port: 20880, Weight: 0.5, Healthy: true, Enabled: true, Metadata: map[string]string{"protocol": "dubbo"}}}
			k, _ := follow(t, s)
			rest := []string{
				"g@@providers:org.x.Cart:1.0:blue org.x.Cart:blue:1.0 10.0.0.4:20880 dubbo 50 false ",
				"g@@web <nil> 10.0.0.1:8080  100 false a", "g@@web <nil> 10.0.0.2:8080  100 true ", "g@@web <nil> 10.0.0.3:8080  1 true ",
			}
			k.want(t, rest...)
			s.set("web", up("10.0.0.5", "b"))
			s.set("new", up("10.0.0.6", "c"))
			k.want(t, "g@@new <nil> 10.0.0.6:8080  100 false c", rest[0], "g@@web <nil> 10.0.0.5:8080  100 false b")
			if !old {
				if ack := <-s.acks; !strings.HasPrefix(ack, `NotifySubscriberResponse {"resultCode":200,"success":true,"requestId":"9"`) {
					t.Errorf("answered %s", ack)
				}
			}
		})
	}
}

// TestRefused: who may not ask is told so.
func TestRefused(t *testing.T) {
	s := newServer(t, false)
	u, err := url.Parse(s.base + usualPath)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{spec: &model.Registry{Username: "u", Password: model.PrivateBytes("wrong")}, bases: []*url.URL{u}, next: -1, client: &http.Client{}}
	if err := c.Follow(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v, want 403", err)
	}
}
