package cluster

import (
	"encoding/base64"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestBundles: our webhooks that trust another root are patched, and nobody else's.
func TestBundles(t *testing.T) {
	c := &Cluster{root: []byte("root")}
	hook := func(name, bundle string) any {
		return map[string]any{"name": name, "clientConfig": map[string]any{"caBundle": base64.StdEncoding.EncodeToString([]byte(bundle))}}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{
		hook("a.inject.weft.dev", "root"), hook("b.inject.weft.dev", "old"), hook("others.example.com", "theirs"),
	}}}
	patch, err := c.bundles(u)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(patch); strings.Count(s, `"op":"add"`) != 1 || !strings.Contains(s, "/webhooks/1/clientConfig/caBundle") || !strings.Contains(s, `"op":"test"`) {
		t.Errorf("patch %s", s)
	}
	u.Object["webhooks"] = []any{hook("a.inject.weft.dev", "root")}
	if patch, err = c.bundles(u); err != nil || patch != nil {
		t.Errorf("what is right is patched: %s, %v", patch, err)
	}
}
