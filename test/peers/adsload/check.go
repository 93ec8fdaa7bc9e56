package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// checkMain subscribes as one sidecar, prints what comes, and writes each
// resource as JSON under -out when that is given.
func checkMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	no := nodeFlags(fs)
	addr := fs.String("addr", "127.0.0.1:15010", "xDS server (plaintext)")
	protoName := fs.String("proto", "sotw", "sotw or delta")
	timeout := fs.Duration("timeout", 20*time.Second, "longest wait")
	out := fs.String("out", "", "directory for the resources as JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	node, err := no.node(0)
	if err != nil {
		return err
	}
	var cnt counters
	var p atomic.Pointer[probe]
	s := newStream(0, node, *protoName == "delta", &cnt, &p)
	var fail error
	s.keep = func(r response) {
		for _, x := range r.rs {
			if err := show(r.typeURL, x.val, *out); err != nil {
				fail = err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := s.open(ctx, *addr, 4<<20); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.run() }()
	select {
	case <-s.ready:
	case err := <-ended:
		return err
	}
	if fail != nil {
		return fail
	}
	sn := cnt.snap()
	fmt.Printf("complete after %v\n", s.readyAt)
	printSnap("received", sn, 1)
	for i, t := range types {
		if sn.Msgs[i] == 0 {
			return fmt.Errorf("nothing of type %s", t)
		}
	}
	return nil
}

// show prints a line about a resource, and writes it as JSON below dir.
func show(typeURL string, raw []byte, dir string) error {
	var m proto.Message
	var what string
	var sum func() string
	switch typeURL {
	case typeCDS:
		c := &clusterv3.Cluster{}
		m, what, sum = c, "cds", func() string { return fmt.Sprintf("%s %v", c.Name, c.GetType()) }
	case typeEDS:
		c := &endpointv3.ClusterLoadAssignment{}
		m, what, sum = c, "eds", func() string { return c.ClusterName + " " + strings.Join(addresses(c), " ") }
	case typeLDS:
		c := &listenerv3.Listener{}
		m, what, sum = c, "lds", func() string { return fmt.Sprintf("%s %d chains, rds %v", c.Name, len(c.FilterChains), rdsNames(raw)) }
	case typeRDS:
		c := &routev3.RouteConfiguration{}
		m, what, sum = c, "rds", func() string {
			n := 0
			for _, v := range c.VirtualHosts {
				n += len(v.Routes)
			}
			return fmt.Sprintf("%s %d virtual hosts %d routes", c.Name, len(c.VirtualHosts), n)
		}
	default:
		return nil
	}
	if err := proto.Unmarshal(raw, m); err != nil {
		return err
	}
	fmt.Println(what, sum())
	if dir == "" {
		return nil
	}
	b, err := protojson.MarshalOptions{Indent: "  ", Resolver: protoregistry.GlobalTypes}.Marshal(m)
	if err != nil { // an Any whose type is not linked in
		b = fmt.Appendf(nil, "%v", m)
	}
	dir = filepath.Join(dir, what)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := strings.NewReplacer("/", "_", "|", "_", ":", "_").Replace(firstString(raw))
	return os.WriteFile(filepath.Join(dir, name+".json"), b, 0o644)
}

func addresses(c *endpointv3.ClusterLoadAssignment) (out []string) {
	for _, l := range c.Endpoints {
		for _, e := range l.LbEndpoints {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			out = append(out, fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue()))
		}
	}
	return out
}
