// Package proxyless is what stands beside programs whose gRPC speaks xDS itself, in
// the place of a proxy:
//
//   - the mesh's certificates as files, which gRPC's provider "file_watcher" reads
//     again and again;
//   - gRPC's bootstrap, to be named by GRPC_XDS_BOOTSTRAP;
//   - a unix socket that leads to the control plane, with the workload's credentials,
//     so that programs need none of their own.
//
// Guarantees: a file is replaced as a whole, the bootstrap comes last, and there is a
// socket whenever there is a bootstrap. While the control plane is gone, streams wait
// for it and certificates stay. It looks into nothing that it forwards.
package proxyless

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/wire"
)

// Files are the paths of what programs need.
type Files struct {
	// Bootstrap is gRPC's, Socket leads to the control plane, Certificates is a folder.
	Bootstrap, Socket, Certificates string
}

// In are files below one folder.
func In(dir string) Files {
	return Files{Bootstrap: filepath.Join(dir, wire.GRPCBootstrapFile), Socket: filepath.Join(dir, "xds.sock"), Certificates: filepath.Join(dir, "certs")}
}

// Chain, Key and Roots are the files of certificates, with Istio's names.
func (f Files) Chain() string { return filepath.Join(f.Certificates, "cert-chain.pem") }

// Key is the private key's file.
func (f Files) Key() string { return filepath.Join(f.Certificates, "key.pem") }

// Roots is the file of what peers are checked against.
func (f Files) Roots() string { return filepath.Join(f.Certificates, "root-cert.pem") }

// lookAgain is how often gRPC reads the certificates again: three small files.
const lookAgain = 5 * time.Second

// Options of an agent.
type Options struct {
	Files Files
	// Node says who the workload is; Metadata is the node's, GENERATOR is added.
	Node     wire.NodeID
	Metadata map[string]any
	Locality wire.Locality
	// Control is the connection to the control plane, with credentials.
	Control grpc.ClientConnInterface
	// Identity makes what brings certificates and hands each to publish; nil: they are
	// in the files that Own names already.
	Identity func(publish func(*sds.Identity)) (run func(context.Context) error, err error)
	// Own are certificates that somebody else keeps fresh.
	Own *Own
	Log *slog.Logger
}

// Own are paths of certificates.
type Own struct{ Chain, Key, Roots string }

// Agent is what Run runs. Make it with New.
type Agent struct {
	o     Options
	first chan struct{} // closed when all files are there
	fresh chan *sds.Identity
}

// New makes an agent.
func New(o Options) *Agent {
	return &Agent{o: o, first: make(chan struct{}), fresh: make(chan *sds.Identity)}
}

// Ready is closed when programs may start: all files are there.
func (a *Agent) Ready() <-chan struct{} { return a.first }

// Run serves until ctx ends; it returns ctx's error, or why it cannot begin.
func (a *Agent) Run(ctx context.Context) error {
	// A bootstrap of an earlier run would lead programs to what is not there yet.
	if err := os.Remove(a.o.Files.Bootstrap); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("gRPC bootstrap: %w", err)
	}
	for _, dir := range []string{filepath.Dir(a.o.Files.Bootstrap), filepath.Dir(a.o.Files.Socket), a.o.Files.Certificates} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("gRPC agent: %w", err)
		}
	}
	l, err := sds.ListenUnix(a.o.Files.Socket)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if a.o.Identity == nil {
		g.Go(func() error { return a.begin() })
		g.Go(func() error { return serve(ctx, l, a.o.Control, a.o.Log) })
		return g.Wait()
	}
	run, err := a.o.Identity(func(id *sds.Identity) {
		select {
		case a.fresh <- id:
		case <-ctx.Done():
		}
	})
	if err != nil {
		l.Close()
		return err
	}
	g.Go(func() error { return serve(ctx, l, a.o.Control, a.o.Log) })
	g.Go(func() error { return run(ctx) })
	g.Go(func() error { return a.keep(ctx) })
	return g.Wait()
}

// retryWrite is when a file that could not be written is tried again: a full disk
// may have room by then.
const retryWrite = 2 * time.Second

// keep writes every new identity, and the bootstrap after the first.
func (a *Agent) keep(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	var unwritten *sds.Identity
	started := false
	for {
		select {
		case unwritten = <-a.fresh:
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if unwritten == nil {
			continue
		}
		err := a.write(unwritten)
		if err == nil && !started {
			err = a.begin()
		}
		if err != nil {
			a.o.Log.Warn("gRPC: files not written, the old ones stay; trying again", "error", err)
			t.Reset(retryWrite)
			continue
		}
		unwritten, started = nil, true
	}
}

// write replaces the certificate's files. The key goes first: who reads between the
// two has a pair that does not fit, keeps the old one, and reads again.
func (a *Agent) write(id *sds.Identity) error {
	f := a.o.Files
	for _, x := range []struct {
		path    string
		content []byte
		mode    os.FileMode
	}{{f.Roots(), id.Roots, 0o644}, {f.Key(), id.Key, 0o600}, {f.Chain(), id.Chain, 0o644}} {
		if err := wholefile.Write(x.path, x.content, x.mode); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the bootstrap: from now on programs may start.
func (a *Agent) begin() error {
	raw, err := a.bootstrap()
	if err != nil {
		return err
	}
	if err := wholefile.Write(a.o.Files.Bootstrap, raw, 0o600); err != nil {
		return err
	}
	close(a.first)
	return nil
}

// bootstrap is gRPC's, in the form of Istio's.
func (a *Agent) bootstrap() ([]byte, error) {
	o := &a.o
	metadata := map[string]any{}
	for k, v := range o.Metadata {
		metadata[k] = v
	}
	metadata["GENERATOR"] = wire.GeneratorGRPC
	paths := Own{Chain: o.Files.Chain(), Key: o.Files.Key(), Roots: o.Files.Roots()}
	if o.Own != nil {
		paths = *o.Own
	}
	files := map[string]any{"refresh_interval": fmt.Sprintf("%gs", lookAgain.Seconds())}
	for field, p := range map[string]string{"certificate_file": paths.Chain, "private_key_file": paths.Key, "ca_certificate_file": paths.Roots} {
		full, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("gRPC bootstrap: %w", err)
		}
		files[field] = full
	}
	socket, err := filepath.Abs(o.Files.Socket)
	if err != nil {
		return nil, fmt.Errorf("gRPC bootstrap: %w", err)
	}
	l := o.Locality
	node := map[string]any{
		"id": o.Node.String(), "metadata": metadata,
		// grpc-js refuses a bootstrap without a locality, be it empty.
		"locality": map[string]any{"region": l.Region, "zone": l.Zone, "sub_zone": l.SubZone},
	}
	return json.MarshalIndent(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": "unix://" + socket, "channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []any{"xds_v3"},
		}},
		"node":                                   node,
		"certificate_providers":                  map[string]any{wire.GRPCCertificates: map[string]any{"plugin_name": "file_watcher", "config": files}},
		"server_listener_resource_name_template": wire.GRPCServer + "%s",
	}, "", "  ")
}
