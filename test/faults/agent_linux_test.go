package faults

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/proxyless"
	"github.com/weftmesh/weft/proxy/sds"
)

// agent keeps the certificates of a program fresh as files.
type agent struct {
	files   proxyless.Files
	publish func(*sds.Identity)
	says    chan string
}

// Write takes what the agent logs.
func (a *agent) Write(b []byte) (int, error) {
	select {
	case a.says <- string(b):
	default: // said before, in the same words
	}
	return len(b), nil
}

// startAgent runs an agent without a data plane in a folder, with a first certificate.
func startAgent(t *testing.T, dir string) *agent {
	t.Helper()
	out := &agent{files: proxyless.In(filepath.Join(dir, "agent")), says: make(chan string, 1)}
	x := proxyless.New(proxyless.Options{
		Files: out.files, Log: slog.New(slog.NewTextHandler(out, nil)),
		Identity: func(publish func(*sds.Identity)) (func(context.Context) error, error) {
			out.publish = publish
			return func(ctx context.Context) error {
				publish(identityOf("first"))
				<-ctx.Done()
				return ctx.Err()
			}, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-x.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	return out
}

func identityOf(text string) *sds.Identity {
	return &sds.Identity{Chain: []byte(text + " chain"), Key: []byte(text + " key"), Roots: []byte(text + " roots")}
}

// full hands the agent a certificate that it cannot write: it says so, and the old one stays whole.
func (a *agent) full(t *testing.T) {
	t.Helper()
	a.publish(identityOf("second"))
	if s := <-a.says; !strings.Contains(s, "no space") {
		t.Errorf("the agent says %q", s)
	}
	list, err := os.ReadDir(a.files.Certificates)
	if err != nil || len(list) != 3 {
		t.Errorf("the agent's files are %v, %v", list, err)
	}
	for _, e := range list {
		if raw, err := os.ReadFile(filepath.Join(a.files.Certificates, e.Name())); err != nil || !bytes.HasPrefix(raw, []byte("first ")) {
			t.Errorf("%s on a full disk: %q, %v", e.Name(), raw, err)
		}
	}
}

// room waits until the agent has written the newer certificate.
func (a *agent) room(t *testing.T) {
	t.Helper()
	eventually(t, "the newer certificate is there", func() error {
		for _, path := range []string{a.files.Roots(), a.files.Key(), a.files.Chain()} {
			raw, err := os.ReadFile(path)
			if err != nil || !bytes.HasPrefix(raw, []byte("second ")) {
				return fmt.Errorf("%s: %q, %v", path, raw, err)
			}
		}
		return nil
	})
}
