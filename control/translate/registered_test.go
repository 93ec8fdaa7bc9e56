package translate

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// TestRegisteredVariants: of services that are one interface in several groups and versions each gets the requests that name it.
func TestRegisteredVariants(t *testing.T) {
	s := meshOf(1)
	port := model.ServicePort{Name: "dubbo-20880", Port: 20880, Protocol: model.MessagesOf("dubbo")}
	for host, labels := range map[string]map[string]string{
		"org.x.cart":          {"interface": "org.x.Cart", "version": "0.0.0"},
		"org.x.cart-blue-1.0": {"interface": "org.x.Cart", "group": "blue", "version": "1.0"},
		"org.x.cart-2.0":      {"interface": "org.x.Cart", "version": "2.0"},
		"org.x.pay":           {"interface": "org.x.Pay"},
	} {
		s.Services = append(s.Services, &model.Service{
			Meta: model.Meta{Key: model.Key{Kind: model.KindServiceEntry, Namespace: "default", Name: host}, Labels: labels}, Host: host, Namespace: "default", Name: host,
			VIPs:      []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{240, 240, 0, byte(len(s.Services))}), 32)},
			FromEntry: true, Registry: "default/zk", Exports: model.Visibility{Public: true}, Ports: []model.ServicePort{port},
			Inline: []model.Endpoint{{Address: "10.9.0.1", Port: 20880, Ports: map[string]uint16{port.Name: 20880}, Healthy: true}},
		})
	}
	r, _ := Translate(scope.Build(scope.NewIndex(s), proxyOf(s, 0)))
	found, ok := r.Get(wire.TypeRoute, "registered_dubbo_20880")
	if !ok {
		t.Fatal("no routes of the port")
	}
	rc := &routev3.RouteConfiguration{}
	if err := proto.Unmarshal(found.Body.Value, rc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, vh := range rc.VirtualHosts {
		for _, route := range vh.Routes {
			line := strings.Join(vh.Domains, ",")
			for _, h := range route.GetMatch().GetHeaders() {
				line += " " + h.GetName() + "=" + h.GetStringMatch().GetExact()
			}
			got = append(got, line+" "+route.GetRoute().GetCluster())
		}
	}
	want := []string{
		"org.x.cart group=blue version=1.0 outbound|20880||org.x.cart-blue-1.0", "org.x.cart version=2.0 outbound|20880||org.x.cart-2.0",
		"org.x.cart outbound|20880||org.x.cart", "org.x.pay outbound|20880||org.x.pay", "* PassthroughCluster",
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
