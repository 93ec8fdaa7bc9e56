package source_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/examples/source"
	"github.com/weftmesh/weft/wire"
)

// TestShops: a file becomes what proxies get, follows its changes, and keeps what there was when it cannot be read.
func TestShops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shops.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"name": "books", "port": 8080, "addresses": ["10.0.0.1"], "next": ["10.0.0.2"], "share": 10}, {"name": "bad"}]`)
	s := &source.Shops{File: file, Every: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := make(chan model.Delta)
	go func() { _ = s.Run(ctx, out) }()
	next := func() model.Delta {
		t.Helper()
		select {
		case d := <-out:
			return d
		case <-time.After(time.Minute):
			t.Fatal("nothing was sent")
		}
		return model.Delta{}
	}
	d := next()
	if len(d.Upserts) != 3 || len(d.Findings) != 1 || d.Findings[0].Object.Name != "bad" {
		t.Fatalf("%d objects, %v", len(d.Upserts), d.Findings)
	}
	// What a proxy gets of it.
	snap := snapshot.Make(snapshot.Options{}, nil, d)
	view := scope.Build(scope.NewIndex(snap), scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "client-0", IP: "10.0.0.9"}})
	cache := translate.NewCache()
	names := map[string]bool{}
	for _, r := range cache.Own(view, nil).Sets(cache.Shared(view, nil))[wire.TypeCluster].List() {
		names[r.Name] = true
	}
	for _, cluster := range []string{"outbound|8080||books.shops.internal", "outbound|8080|next|books.shops.internal"} {
		if !names[cluster] {
			t.Errorf("there is no cluster %s among %v", cluster, names)
		}
	}
	// One that cannot be read changes nothing.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if d := next(); len(d.Upserts) != 3 || len(d.Findings) != 1 {
		t.Errorf("%d objects, %v", len(d.Upserts), d.Findings)
	}
	write(`[]`)
	if d := next(); len(d.Upserts) != 0 || len(d.Findings) != 0 {
		t.Errorf("%d objects, %v", len(d.Upserts), d.Findings)
	}
}
