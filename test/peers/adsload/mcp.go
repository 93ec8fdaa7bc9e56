package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	mcppb "istio.io/api/mcp/v1alpha1"
	netpb "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"
)

// mcpServer hands a config directory to a control plane over MCP-over-XDS
// (ADS with types "group/version/Kind" and mcp.Resource bodies). It sends the
// whole of a type at every change: the protocol has no other way in SotW.
type mcpServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	mu    sync.Mutex
	ver   int
	res   map[string]map[string]*anypb.Any // type -> ns/name -> resource
	order map[string][]string
	chans map[chan string]bool
}

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec json.RawMessage `json:"spec"`
}

type specMsg interface {
	proto.Message
	json.Unmarshaler
}

func newSpec(kind string) specMsg {
	switch kind {
	case "ServiceEntry":
		return &netpb.ServiceEntry{}
	case "VirtualService":
		return &netpb.VirtualService{}
	case "DestinationRule":
		return &netpb.DestinationRule{}
	case "Gateway":
		return &netpb.Gateway{}
	case "Sidecar":
		return &netpb.Sidecar{}
	}
	return nil
}

// apply reads YAML documents and returns the types that changed.
func (m *mcpServer) apply(text string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ver++
	var changed []string
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		typ, err := m.applyOne(doc)
		if err != nil {
			return nil, err
		}
		if typ != "" && !slices.Contains(changed, typ) {
			changed = append(changed, typ)
		}
	}
	for c := range m.chans {
		for _, t := range changed {
			c <- t
		}
	}
	return changed, nil
}

// applyOne takes one document in; "": it changes nothing. mu is held.
func (m *mcpServer) applyOne(doc string) (typ string, err error) {
	var o object
	if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
		return "", err
	}
	spec := newSpec(o.Kind)
	if spec == nil {
		return "", fmt.Errorf("kind %q is not known", o.Kind)
	}
	if err := spec.UnmarshalJSON(o.Spec); err != nil {
		return "", err
	}
	body, err := anypb.New(spec)
	if err != nil {
		return "", err
	}
	typ = o.APIVersion + "/" + o.Kind
	name := o.Metadata.Namespace + "/" + o.Metadata.Name
	if old := m.res[typ][name]; old != nil {
		var was mcppb.Resource
		if old.UnmarshalTo(&was) == nil && bytes.Equal(was.Body.Value, body.Value) {
			return "", nil
		}
	}
	a, err := anypb.New(&mcppb.Resource{Body: body, Metadata: &mcppb.Metadata{
		Name: name, Version: strconv.Itoa(m.ver), Labels: o.Metadata.Labels, Annotations: o.Metadata.Annotations,
	}})
	if err != nil {
		return "", err
	}
	if m.res[typ] == nil {
		m.res[typ] = map[string]*anypb.Any{}
	}
	if m.res[typ][name] == nil {
		m.order[typ] = append(m.order[typ], name)
	}
	m.res[typ][name] = a
	return typ, nil
}

func (m *mcpServer) response(typ string) *discoveryv3.DiscoveryResponse {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := strconv.Itoa(m.ver)
	r := &discoveryv3.DiscoveryResponse{VersionInfo: v, Nonce: v, TypeUrl: typ}
	for _, n := range m.order[typ] {
		r.Resources = append(r.Resources, m.res[typ][n])
	}
	return r
}

// StreamAggregatedResources implements the service.
func (m *mcpServer) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	c := make(chan string, 1000)
	m.mu.Lock()
	m.chans[c] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.chans, c)
		m.mu.Unlock()
	}()
	errc := make(chan error, 1)
	go func() {
		seen := map[string]bool{}
		for {
			r, err := s.Recv()
			if err != nil {
				errc <- err
				return
			}
			if !seen[r.TypeUrl] { // later requests are ACKs
				seen[r.TypeUrl] = true
				c <- r.TypeUrl
			}
		}
	}()
	for {
		select {
		case err := <-errc:
			return err
		case t := <-c:
			if err := s.Send(m.response(t)); err != nil {
				return err
			}
		}
	}
}

func mcpMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("mcp", flag.ContinueOnError)
	dir := fs.String("dir", "", "configuration directory")
	listen := fs.String("listen", "127.0.0.1:15510", "address of the source (meshConfig configSources: xds://…)")
	control := fs.String("control", "127.0.0.1:15511", "HTTP: POST /update with YAML documents to change")
	if err := fs.Parse(args); err != nil {
		return err
	}
	m := &mcpServer{res: map[string]map[string]*anypb.Any{}, order: map[string][]string{}, chans: map[chan string]bool{}}
	files, err := filepath.Glob(filepath.Join(*dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no *.yaml in %q", *dir)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if _, err := m.apply(string(b)); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	for t, o := range m.order {
		fmt.Printf("serving %d of %s\n", len(o), t)
	}
	return m.serve(ctx, *listen, *control)
}

// serve answers until ctx ends.
func (m *mcpServer) serve(ctx context.Context, listen, control string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 28))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, m)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /update", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = m.apply(string(b))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	web := &http.Server{Addr: control, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { g.Stop(); _ = web.Close() })
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return g.Serve(l) })
	group.Go(web.ListenAndServe)
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}
