package apiserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://one.example:6443"}}, {name: d, cluster: {server: "https://two.example"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}, {name: second, context: {cluster: d, user: u}}]
current-context: x
`

func TestAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", file)
	for address, want := range map[string]string{
		"kubernetes://":                "https://one.example:6443",
		"kubernetes://?context=second": "https://two.example",
		"kubernetes://?kubeconfig=" + file + "&context=second": "https://two.example",
		"kubernetes://?kubeconfig=/nonexistent":                "kubeconfig: stat /nonexistent",
		"kubernetes://?context=z":                              `context "z" does not exist`,
		"kubernetes://?contexts=z":                             "want kubeconfig or context",
		"kubernetes://?context=":                               "with a value",
		"kubernetes://one.example":                             "want kubernetes://",
		"kubernetes://?kubeconfig=" + filepath.Dir(file) + "/": "is a directory",
	} {
		c, err := Config(address)
		if err == nil && (c.Host != want || c.QPS != queries) || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address)) {
			t.Errorf("%s: %v, %v; want %s", address, c, err, want)
		}
	}
}
