package peer

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

const nodeID = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"

// node is a proxy's metadata, with what nobody sends.
func node(t testing.TB) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(`{
		"NAME": "web-1", "NAMESPACE": "shop", "WORKLOAD_NAME": "web", "CLUSTER_ID": "k1", "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/web",
		"LABELS": {"app": "web", "version": "v1", "service.istio.io/canonical-name": "web", "service.istio.io/canonical-revision": "v1", "team": "a", "secret": "x"},
		"ISTIO_VERSION": "1.31.0"}`), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func want(labels map[string]string) *filter.Peer {
	return &filter.Peer{
		WorkloadRef: filter.WorkloadRef{Name: "web", Namespace: "shop", App: "web", Version: "v1", Service: "web", Revision: "v1", Cluster: "k1"},
		Instance:    "web-1", Kind: "deployment", Labels: labels,
	}
}

func TestHeaderThereAndBack(t *testing.T) {
	l := NewLocal(nodeID, node(t), []string{"team"})
	if l.ID != nodeID {
		t.Errorf("id %q", l.ID)
	}
	c := &Cache{Additional: []string{"team", "none"}}
	got := c.Decode(nodeID, l.Value)
	if d := cmp.Diff(want(map[string]string{"team": "a"}), got); d != "" {
		t.Error(d)
	}
	if c.Decode(nodeID, l.Value) != got {
		t.Error("a peer that is known was decoded again")
	}
	if again := NewLocal(nodeID, node(t), []string{"team"}); again.Value != l.Value {
		t.Error("the same metadata has two values")
	}
	// Without padding, as some senders have it.
	if d := cmp.Diff(got, (&Cache{Additional: []string{"team"}}).Decode("", strings.TrimRight(l.Value, "="))); d != "" {
		t.Error(d)
	}
}

// TestCacheIsNotPoisoned: an id alone does not make a peer; and a full cache
// begins anew.
func TestCacheIsNotPoisoned(t *testing.T) {
	c := &Cache{}
	one := NewLocal(nodeID, node(t), nil)
	other := NewLocal(nodeID, &structpb.Struct{Fields: map[string]*structpb.Value{"WORKLOAD_NAME": structpb.NewStringValue("evil")}}, nil)
	c.Decode(nodeID, one.Value)
	if got := c.Decode(nodeID, other.Value); got.Name != "evil" {
		t.Errorf("got %v", got)
	}
	if got := c.Decode(nodeID, "no base64 !"); got != nil {
		t.Errorf("got %v", got)
	}
	for i := range 3 * maxCached {
		c.Decode(nodeID+string(rune('a'+i%26))+strings.Repeat("x", i/26), one.Value)
	}
	if n := len(*c.read.Load()); n > maxCached {
		t.Errorf("%d peers are remembered", n)
	}
}

func TestBaggageThereAndBack(t *testing.T) {
	l := NewLocal(nodeID, node(t), nil)
	if d := cmp.Diff(want(nil), ParseBaggage(l.Baggage)); d != "" {
		t.Error(d)
	}
	for text, name := range map[string]string{
		"": "", "a=b,c": "", "k8s.pod.name = p ;x=1, k8s.namespace.name=n%2Fm": "p", "service.name=s": "",
	} {
		got := ParseBaggage(text)
		if (got != nil) != strings.Contains(text, "name") || got != nil && got.Name != name {
			t.Errorf("%q: %v", text, got)
		}
	}
	if got := ParseBaggage("k8s.namespace.name=n%2Fm"); got.Namespace != "n/m" {
		t.Errorf("%v", got)
	}
}

func TestExchange(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	type result struct {
		p   *filter.Peer
		err error
	}
	// A pipe takes bytes as they are read: each side writes beside its reading.
	read := func(nc net.Conn, l *Local) chan result {
		out := make(chan result, 1)
		go func() { _, _ = nc.Write(l.prologue) }()
		go func() {
			p, err := readPrologue(nc, nil)
			out <- result{p, err}
		}()
		return out
	}
	one, two := NewLocal(nodeID, node(t), nil), NewLocal("", &structpb.Struct{}, nil)
	ra, rb := read(a, one), read(b, two)
	if r := <-rb; r.err != nil || cmp.Diff(want(nil), r.p) != "" {
		t.Errorf("the server read %v, %v", r.p, r.err)
	}
	if r := <-ra; r.err != nil || r.p.Name != "" {
		t.Errorf("the client read %v, %v", r.p, r.err)
	}
}

func TestExchangeRefuses(t *testing.T) {
	ok := NewLocal(nodeID, node(t), nil).prologue
	for name, text := range map[string]string{
		"no prologue": "GET / HTTP/1.1\r\n", "too long": "\x3d\x23\x04\x67\x7f\xff\xff\xff", "cut off": string(ok[:len(ok)-1]),
		"no Any": "\x3d\x23\x04\x67\x00\x00\x00\x02\xff\xff", "empty": "\x3d\x23\x04\x67\x00\x00\x00\x00",
	} {
		if p, err := readPrologue(strings.NewReader(text), nil); err == nil {
			t.Errorf("%s: %v", name, p)
		}
	}
}

func TestExchangeEndsAtTheDeadline(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := NewLocal("", node(t), nil).Exchange(a, time.Now().Add(10*time.Millisecond), nil); err == nil {
		t.Error("nobody answered, and there was no error")
	}
}

func TestConfig(t *testing.T) {
	for text, fails := range map[string]string{
		`{"protocol": "istio-peer-exchange", "enable_discovery": true, "additional_labels": ["team"]}`: "", `{}`: "",
		`{"protocol": ""}`: "value.protocol", `{"other": 1}`: "value.other", `{"additional_labels": [1]}`: "value.additional_labels: [0]",
	} {
		s := &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(text), s); err != nil {
			t.Fatal(err)
		}
		a, err := anypb.New(&udpav1.TypedStruct{TypeUrl: typeExchange, Value: s})
		if err != nil {
			t.Fatal(err)
		}
		f, err := NetworkKind(nodeID, node(t)).Parse(nil, a)
		if (err == nil) != (fails == "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("%s: %v, want %q", text, err, fails)
		}
		if err == nil && (!f.(filter.Greeter).Greets(Protocol) || f.(filter.Greeter).Greets("h2")) {
			t.Errorf("%s: greets the wrong ones", text)
		}
	}
	if _, err := ParseExchanger(&anypb.Any{TypeUrl: "type.googleapis.com/x"}, "", nil); err == nil {
		t.Error("another type was accepted")
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(NewLocal(nodeID, node(f), nil).Value)
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		p := decodeHeader(value, []string{"team"})
		if p == nil {
			return
		}
		s := encode(p)
		if d := cmp.Diff(p, parseStruct(s, []string{"team"})); d != "" && p.Kind == "" && len(p.Labels) == 0 {
			t.Errorf("there and back: %s", d)
		}
	})
}

func FuzzPrologue(f *testing.F) {
	f.Add(string(NewLocal(nodeID, node(f), nil).prologue))
	f.Fuzz(func(_ *testing.T, text string) { _, _ = readPrologue(strings.NewReader(text), nil) })
}

func FuzzBaggage(f *testing.F) {
	f.Add(NewLocal(nodeID, node(f), nil).Baggage)
	f.Fuzz(func(t *testing.T, text string) {
		if p := ParseBaggage(text); p != nil && p.WorkloadRef != (filter.WorkloadRef{}) {
			if again := ParseBaggage(baggage(p)); again == nil {
				t.Errorf("%q cannot be read again", baggage(p))
			}
		}
	})
}
