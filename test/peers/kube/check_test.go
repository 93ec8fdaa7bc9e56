package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	kubeobjects "github.com/weftmesh/weft/kube/objects"

	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/kube/check"
	"github.com/weftmesh/weft/kube/install"
)

// certificate is one that ends after a time, as a Secret has it.
func certificate(t *testing.T, after time.Duration) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(after), DNSNames: []string{"a.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestCheck: an empty cluster is good to install in, for who may; what does not work afterwards
// is named, with a remedy.
func TestCheck(t *testing.T) {
	c := startCluster(t)
	definitions, err := install.Definitions(file.NewDecoder())
	if err != nil {
		t.Fatal(err)
	}
	options := func(token string) check.Options {
		client, err := kubeobjects.New(c.config(token))
		if err != nil {
			t.Fatal(err)
		}
		return check.Options{Client: client, Definitions: definitions}
	}
	verdicts := func(list []check.Result) map[string]string {
		out := map[string]string{}
		for _, r := range list {
			out[r.Name] += string(r.Verdict) + " " + r.Message + " " + r.Remedy + "\n"
		}
		return out
	}
	for name, said := range verdicts(check.Before(t.Context(), options(admin))) {
		if !strings.HasPrefix(said, "ok") {
			t.Errorf("%s: %s", name, said)
		}
	}
	if said := verdicts(check.Before(t.Context(), options(limited)))["permissions"]; !strings.HasPrefix(said, "error") || !strings.Contains(said, "create") {
		t.Errorf("somebody who may nothing: %s", said)
	}
	if check.Installed(t.Context(), options(admin)) {
		t.Error("it is installed already")
	}
	for name, after := range map[string]time.Duration{"soon": 30 * 24 * time.Hour, "ended": -time.Hour, "later": 90 * 24 * time.Hour} {
		c.apply(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: ''}\n", name, certificate(t, after)))
	}
	after := verdicts(check.After(t.Context(), options(admin)))
	for name, want := range map[string]string{
		"control-plane": "not installed", "leader": "no replica writes", "webhook-certificates": "not published", "root-published": "not published",
		"certificates": "default/soon ends in 29 days",
	} {
		if !strings.Contains(after[name], want) {
			t.Errorf("%s: %q, want %q", name, after[name], want)
		}
	}
	if said := after["certificates"]; !strings.Contains(said, "error Secret default/ended") || strings.Contains(said, "later") {
		t.Errorf("certificates: %s", said)
	}
	// A version that nobody knows.
	wrong := options(admin)
	wrong.Skip = []string{"permissions", "definitions"}
	if got := verdicts(check.Before(t.Context(), wrong)); got["permissions"] != "" || got["api-server"] == "" {
		t.Errorf("left out: %v", got)
	}
}
