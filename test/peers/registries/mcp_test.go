package registries

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
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
	"github.com/weftmesh/weft/test/freeport"
)

// certificate writes one for 127.0.0.1 that is its own authority, and its key.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// entries are the services that came from another control plane.
func (p *plane) entries() (out []string, err error) {
	var st console.State
	if err := p.get("/v1/state", &st); err != nil {
		return nil, err
	}
	for _, src := range st.Sources {
		if !strings.HasPrefix(src.Name, "mcp ") {
			continue
		}
		for _, o := range src.Objects {
			if s, ok := o.(*model.Service); ok {
				out = append(out, line(s, []string{"version"}))
			}
			if w, ok := o.(*model.Workload); ok {
				out = append(out, fmt.Sprintf("%s %v", w.Key, w.Addresses))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

func (p *plane) wantEntries(want ...string) {
	p.t.Helper()
	eventually(p.t, func() error {
		got, err := p.entries()
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return err
	})
}

const mcpYAML = `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 10.0.0.9, labels: {app: vm}}
`

// TestMCP: one control plane follows a real etcd, others follow that one.
func TestMCP(t *testing.T) {
	t.Parallel()
	e := startEtcd(t)
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.put("/weft/services/stock/1", `{"address":"10.0.0.4","port":7000,"protocol":"tcp","weight":50,"metadata":{"version":"v1"}}`)
	e.put("/dubbo/org.x.Cart/providers/dubbo%3A%2F%2F10.0.0.1%3A20880%2Forg.x.Cart%3Finterface%3Dorg.x.Cart%26version%3D1.0.0", "")
	at := "127.0.0.1:" + strconv.Itoa(int(freeport.Port(t)))
	giver := startWith(t, fmt.Sprintf(etcdYAML, e.address)+mcpYAML, func(o *control.Options) {
		o.ServeMCP = "xds+tls://" + at + "?cert=" + cert + "&key=" + key + "&ca=" + cert + "&token=" + token
	})
	follow := func(address string) *plane {
		return startWith(t, "", func(o *control.Options) { o.Config = append(o.Config, address) })
	}
	taker := follow("xds+tls://" + at + "?ca=" + cert + "&cert=" + cert + "&key=" + key + "&token=" + token)
	stranger := follow("xds+tls://" + at + "?ca=" + cert + "&cert=" + cert + "&key=" + key)

	want := []string{
		"WorkloadEntry/shop/vm [10.0.0.9]",
		"shop/org.x.cart-1.0.0 tcp-dubbo-20880: 10.0.0.1:0,1.0.0",
		"shop/stock tcp-80: 10.0.0.4:0,v1",
	}
	taker.wantEntries(want...)

	t.Log("what changes in the registry changes there")
	e.put("/weft/services/stock/2", `{"address":"10.0.0.5","port":7000,"protocol":"tcp","metadata":{"version":"v2"}}`)
	e.put("/microservices/orders/o-1", `{"id":"o-1","name":"orders","version":"v2","endpoints":["http://10.0.0.3:8000"]}`)
	want[2] += " 10.0.0.5:0,v2"
	want = slices.Insert(want, 1, "shop/orders http-80: 10.0.0.3:0,v2")
	taker.wantEntries(want...)

	t.Log("who does not bear the token gets nothing")
	eventually(t, func() error {
		if codes := stranger.codes(); !slices.Contains(codes, "WEFT0117") {
			return fmt.Errorf("findings %v", codes)
		}
		return nil
	})
	stranger.wantEntries()

	t.Log("the giving control plane ends and starts: nothing goes away")
	giver.stop()
	eventually(t, func() error {
		if codes := taker.codes(); !slices.Contains(codes, "WEFT0117") {
			return fmt.Errorf("findings %v", codes)
		}
		return nil
	})
	taker.wantEntries(want...)
	e.kill() // what it knows then is what it has saved
	giver.run()
	eventually(t, func() error {
		if codes := taker.codes(); slices.Contains(codes, "WEFT0117") {
			return fmt.Errorf("findings %v", codes)
		}
		return nil
	})
	taker.wantEntries(want...)
}
