package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	defaultNodeID = "sidecar~{ip}~bench-{i}.bench~bench.svc.cluster.local"
	defaultMeta   = `{"CLUSTER_ID":"Kubernetes","NAMESPACE":"bench","ISTIO_VERSION":"1.31.0","INSTANCE_IPS":"{ip}",` +
		`"WORKLOAD_NAME":"bench","NAME":"bench-{i}","LABELS":{"app":"bench"}}`
)

// nodeOpts say who the streams are.
type nodeOpts struct{ id, cluster, meta, ipBase string }

func nodeFlags(fs *flag.FlagSet) *nodeOpts {
	o := &nodeOpts{}
	fs.StringVar(&o.id, "node-id", defaultNodeID, "node ID; {i} is the stream's number, {ip} its address")
	fs.StringVar(&o.cluster, "node-cluster", "bench.bench", "node cluster")
	fs.StringVar(&o.meta, "node-meta", defaultMeta, "node metadata as JSON, or @file; same placeholders")
	fs.StringVar(&o.ipBase, "node-ip-prefix", "10.200", "first two numbers of the streams' addresses")
	return o
}

// node is the i-th stream's.
func (o *nodeOpts) node(i int) (*corev3.Node, error) {
	meta := o.meta
	if file, ok := strings.CutPrefix(meta, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		meta = string(b)
	}
	r := strings.NewReplacer("{i}", strconv.Itoa(i), "{ip}", fmt.Sprintf("%s.%d.%d", o.ipBase, i/250, i%250+1))
	st := &structpb.Struct{}
	if err := st.UnmarshalJSON([]byte(r.Replace(meta))); err != nil {
		return nil, fmt.Errorf("-node-meta: %w", err)
	}
	return &corev3.Node{Id: r.Replace(o.id), Cluster: r.Replace(o.cluster), Metadata: st}, nil
}
