package istio

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/wire"
)

// pod is a folder with what a pod has, and its environment.
func pod(t *testing.T, files map[string]string, env ...string) (string, []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, append([]string{"POD_NAME=web-1", "POD_NAMESPACE=shop", "INSTANCE_IP=10.0.0.7", "SERVICE_ACCOUNT=web"}, env...)
}

func TestPod(t *testing.T) {
	dir, env := pod(t, map[string]string{
		tokenPath: "one\n", rootPath: "pem",
		labelsPath: "app=\"web\"\nversion=\"v1\"\npod-template-hash=\"x\"\ntopology.istio.io/locality=\"r.z.s\"\n",
		notesPath:  "a=\"b\"\n",
	}, `PROXY_CONFIG={"discoveryAddress":"istiod.example:15012","statusPort":15099,"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}`,
		"ISTIO_META_CLUSTER_ID=k1", "ISTIO_META_WORKLOAD_NAME=web", `ISTIO_METAJSON_LABELS={"team":"a","app":"old"}`, "TRUST_DOMAIN=td", "SECRET_TTL=1h",
		"ENVOY_STATUS_PORT=15022")
	a, err := Load(wire.Sidecar, dir, env)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Node.String(); got != "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local" {
		t.Errorf("node %s", got)
	}
	if a.SPIFFE != "spiffe://td/ns/shop/sa/web" || a.TTL != time.Hour || a.StatusPort != 15099 || a.AdminPort != 15000 || a.Identity != (Identity{}) {
		t.Errorf("%+v", a)
	}
	want := Endpoint{
		Address: "istiod.example:15012", ServerName: "istiod.example", Roots: filepath.Join(dir, rootPath), Token: filepath.Join(dir, tokenPath),
		Header: map[string]string{"clusterid": "k1"},
	}
	for _, e := range []Endpoint{a.XDS, a.CA} {
		if d := cmp.Diff(want, e); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff(map[string]any{"app": "web", "version": "v1", "team": "a", "topology.istio.io/locality": "r.z.s"}, a.Metadata["LABELS"]); d != "" {
		t.Error(d)
	}
	if a.Metadata["DNS_CAPTURE"] != "true" || a.Metadata["WORKLOAD_NAME"] != "web" || a.Metadata["ENVOY_STATUS_PORT"] != uint64(15022) || a.Locality.SubZone != "s" {
		t.Errorf("%v", a.Metadata)
	}
	target := a.XDS.Target(nil)
	token, err := target.Token()
	if err != nil || token != "one" {
		t.Errorf("token %q, %v", token, err)
	}
	if err := os.WriteFile(filepath.Join(dir, tokenPath), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if token, _ = target.Token(); token != "two" {
		t.Errorf("the new token is %q", token)
	}
	raw, err := a.Bootstrap(true)
	if err != nil || !json.Valid(raw) || !strings.Contains(string(raw), `"DELTA_GRPC"`) {
		t.Errorf("%v: %s", err, raw)
	}
}

func TestWhereCertificatesComeFrom(t *testing.T) {
	chain := map[string]string{spiffePath + "/cert-chain.pem": "c", spiffePath + "/key.pem": "k"}
	mounted := map[string]string{mountedPath + "/cert-chain.pem": "c", mountedPath + "/key.pem": "k"}
	for name, c := range map[string]struct {
		files map[string]string
		env   []string
		want  string // of the chain, below the folder
	}{
		"authority":     {nil, nil, ""},
		"spiffe":        {chain, nil, spiffePath + "/cert-chain.pem"},
		"mounted":       {mounted, []string{"FILE_MOUNTED_CERTS=true"}, mountedPath + "/cert-chain.pem"},
		"mounted unset": {mounted, nil, ""},
	} {
		dir, env := pod(t, c.files, c.env...)
		a, err := Load(wire.Sidecar, dir, env)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.want != "" {
			want = filepath.Join(dir, c.want)
		}
		if a.Identity.Chain != want {
			t.Errorf("%s: %q, want %q", name, a.Identity.Chain, want)
		}
	}
}

func TestWithoutTLS(t *testing.T) {
	for _, config := range []string{`{"discoveryAddress":"x:15010"}`, `{"discoveryAddress":"x:1","controlPlaneAuthPolicy":"NONE"}`} {
		dir, env := pod(t, nil, "PROXY_CONFIG="+config, "CA_ADDR=ca.example:1234", "CA_ROOT_CA=SYSTEM")
		a, err := Load(wire.Router, dir, env)
		if err != nil || !a.XDS.Plain || a.XDS.Token != "" || a.CA.Address != "ca.example:1234" || a.CA.Roots != "" {
			t.Errorf("%s: %v, %+v", config, err, a)
		}
	}
}

func TestMistakes(t *testing.T) {
	for env, want := range map[string]string{
		"PROXY_CONFIG=[": "PROXY_CONFIG", `PROXY_CONFIG={"discoveryAddress":"x"}`: "discoveryAddress", "INSTANCE_IP=x": "INSTANCE_IP",
		"SECRET_TTL=x": "SECRET_TTL", "ISTIO_METAJSON_X=x": "ISTIO_METAJSON_X", "ENVOY_STATUS_PORT=x": "ENVOY_STATUS_PORT", "CA_ADDR=x": "CA_ADDR",
	} {
		dir, base := pod(t, nil, env)
		if _, err := Load(wire.Sidecar, dir, base); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", env, err, want)
		}
	}
}
