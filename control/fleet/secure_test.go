package fleet

import (
	"context"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// TestSecure: a proxy is whom its account lets it be, and gets that gateway's Secrets.
func TestSecure(t *testing.T) {
	f := start(t)
	cert := &model.Secret{Meta: key(model.KindSecret, "shop", "cert"), Cert: []byte("c"), PrivateKey: []byte("k")}
	pod := workload("shop", "web", 7)
	pod.ServiceAccount = "web"
	entry := workload("shop", "some-machine", 8) // whose name no node says
	entry.ServiceAccount, entry.Labels = "vm", map[string]string{"app": "vm"}
	group := &model.WorkloadGroup{Meta: key(model.KindWorkloadGroup, "shop", "vms"), Template: model.Workload{ServiceAccount: "vm"}}
	s := snapshot(1, "start", shop, bank, service("shop", "web", 80), pod, entry)
	s.Secrets, s.Groups = []*model.Secret{cert}, []*model.WorkloadGroup{group}
	s.Gateways = []*model.Gateway{{
		Meta: key(model.KindGateway, "shop", "gw"), Selector: map[string]string{"istio": "gw"},
		Servers: []model.Server{{Port: 443, PortName: "https", Protocol: model.HTTPS, Hosts: []string{"*/*"},
			TLS: &model.ServerTLS{Mode: model.TLSSimple, Credentials: []string{"shop/cert"}}}},
	}}
	f.publish(t, s)
	node := func(namespace, name, ip, group string) *corev3.Node {
		kind := wire.Sidecar
		if name == "gw" {
			kind = wire.Router
		}
		id := wire.NodeID{Type: kind, IP: ip, Name: name, Namespace: namespace, Domain: namespace + ".svc.cluster.local"}
		n := &corev3.Node{Id: id.String(), Metadata: (&wire.NodeMetadata{Namespace: namespace, InstanceIPs: ip, Labels: map[string]string{"istio": "gw"}}).Struct()}
		if group != "" {
			n.Metadata.Fields["AUTO_REGISTER_GROUP"] = structpb.NewStringValue(group)
		}
		return n
	}
	for _, c := range []struct {
		name, account string
		node          *corev3.Node
		token         string
		identity      string // or a part of the error
	}{
		{"a pod", "shop/web", node("shop", "web", "10.244.0.7", ""), "", "Workload/shop/web"},
		{"the node says more than the proof", "bank/web", node("shop", "web", "10.244.0.7", ""), "", "namespace shop"},
		{"another account's pod", "shop/other", node("shop", "web", "10.244.0.7", ""), "", "service account web"},
		{"a gateway of nobody's", "shop/gw", node("shop", "gw", "10.244.9.9", ""), "", "Proxy/shop/gw"},
		{"a machine", "shop/vm", node("shop", "host-1", "10.244.0.8", ""), "", "Proxy/shop/host-1"},
		{"a group's", "shop/vm", node("shop", "host-2", "10.244.0.9", "vms"), "", "Proxy/shop/host-2"},
		{"a group's, with another account", "shop/web", node("shop", "host-2", "10.244.0.9", "vms"), "", "WorkloadGroup shop/vms"},
		{"a workload's own token", "", node("shop", "web", "10.244.0.7", ""), "token of web", "Workload/shop/web"},
		{"nothing", "", node("shop", "web", "10.244.0.7", ""), "", "nothing is proved"},
	} {
		ctx := t.Context()
		if c.token != "" {
			ctx = bearer(ctx, c.token)
		}
		b := f.Secure(func(context.Context) (Account, error) {
			ns, name, ok := strings.Cut(c.account, "/")
			if !ok {
				return Account{}, status.Error(codes.Unauthenticated, "nothing is proved")
			}
			return Account{"cluster.local", ns, name}, nil
		})
		got, err := b.Open(ctx, c.node, false)
		if err != nil {
			if !strings.Contains(err.Error(), c.identity) {
				t.Errorf("%s: %v, want %s", c.name, err, c.identity)
			}
			continue
		}
		p := got.(*session)
		if p.identity.String() != c.identity {
			t.Errorf("%s is %s, want %s", c.name, p.identity, c.identity)
		}
		state, _, err := got.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if p.proxy.ID.Type == wire.Router && state.Set(wire.TypeSecret).Len() != 1 {
			t.Errorf("%s gets %d Secrets", c.name, state.Set(wire.TypeSecret).Len())
		}
		if w := p.workload; c.name == "a machine" && (w == nil || w.Name != "some-machine") {
			t.Errorf("the machine's entry is %v", w)
		}
		got.Close()
	}
}
