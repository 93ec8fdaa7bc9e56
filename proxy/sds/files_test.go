package sds

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/wire"
)

func TestFileSecretNames(t *testing.T) {
	for name, want := range map[string]FileSecret{
		"file-cert:/a/b.pem~/a/c.pem": {Chain: "/a/b.pem", Key: "/a/c.pem"},
		"file-root:/a/ca.pem":         {Roots: "/a/ca.pem"},
	} {
		if got, err := ParseFileSecret(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := ParseFileSecret("file-root:system"); err != nil || !strings.HasPrefix(got.Roots, "/etc/") {
		t.Errorf("system: %v, %v", got, err)
	}
	for _, name := range []string{"", "default", "file-cert:/a", "file-cert:~/a", "file-cert:/a~", "file-root:", "kubernetes://a"} {
		if _, err := ParseFileSecret(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root.pem")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(root, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(root, at, at); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		type told struct{ name, text string }
		got := make(chan told, 10)
		var refuse atomic.Bool
		refuse.Store(true)
		f := NewFiles(func(name string, c *FileContent) error {
			if refuse.Load() {
				return errors.New("not yet")
			}
			got <- told{name, string(c.Roots)}
			return nil
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		name := "file-root:" + root
		f.Want(name)
		f.Want("file-cert:broken") // changes nothing
		synctest.Wait()
		write("one", time.Unix(1000, 0))
		time.Sleep(lookEvery)
		synctest.Wait()
		refuse.Store(false) // what was refused comes again
		time.Sleep(lookEvery)
		if g := <-got; g != (told{name, "one"}) {
			t.Errorf("got %v", g)
		}
		write("two", time.Unix(2000, 0))
		if g := <-got; g != (told{name, "two"}) {
			t.Errorf("got %v", g)
		}
		f.WantAs("other", FileSecret{Roots: root})
		if g := <-got; g != (told{"other", "two"}) {
			t.Errorf("got %v", g)
		}
		f.Drop(name)
		f.Drop("other")
		write("three", time.Unix(3000, 0))
		time.Sleep(10 * lookEvery)
		synctest.Wait()
		if len(got) > 0 {
			t.Errorf("a secret that nobody wants was read: %v", <-got)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestSubscriberFollowsAServer: as the proxy beside pilot-agent does.
func TestSubscriberFollowsAServer(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	type told struct{ name, chain, key, roots string }
	got := make(chan told, 10)
	s := &Subscriber{
		Socket: sock, Node: &corev3.Node{Id: "me"}, Log: slog.New(slog.DiscardHandler),
		Publish: func(name string, c *FileContent) error {
			got <- told{name, string(c.Chain), string(c.Key), string(c.Roots)}
			return nil
		},
	}
	followed := make(chan error, 1)
	go func() { followed <- s.Run(ctx) }()
	for _, round := range []string{"1", "2"} {
		server.Publish(&Identity{Chain: []byte("c" + round), Key: []byte("k" + round), Roots: []byte("r" + round)})
		want := map[string]told{
			wire.SecretWorkload: {wire.SecretWorkload, "c" + round, "k" + round, ""}, wire.SecretRoot: {wire.SecretRoot, "", "", "r" + round},
		}
		for len(want) > 0 {
			g := <-got
			if g != want[g.name] {
				t.Errorf("got %v, want %v", g, want[g.name])
			}
			delete(want, g.name)
		}
	}
	cancel()
	if err := <-followed; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	<-served
}
