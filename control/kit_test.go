package control

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/test/freeport"
)

// alone is a control plane that runs by itself until the test ends.
type alone struct {
	Options
	conn   *grpc.ClientConn
	stream discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

// runAlone runs one with the options' configuration, and opens a stream to it. What the
// options leave out is put into folders of the test.
func runAlone(t *testing.T, o Options) *alone {
	t.Helper()
	dir := t.TempDir()
	o.Plaintext = cmp.Or(o.Plaintext, freeport.Addr(t))
	o.ConsoleSocket, o.StateDir, o.Log = filepath.Join(dir, "c"), filepath.Join(dir, "s"), slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	conn, err := grpc.NewClient(o.Plaintext, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := discoverypb.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return &alone{o, conn, stream}
}
