package control

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire/weftpb"
)

const sharedQuota = `apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: a, namespace: default}
spec:
  sets:
    _base:
      descriptor:
      - condition: "true"
        action: {quota: "200", fill_interval: {seconds: 1}, strategy: global}
`

// TestReplicasShareQuotas: two control planes give no more of a quota than one does.
func TestReplicasShareQuotas(t *testing.T) {
	config := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(config, []byte(sharedQuota), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := freeport.Addr(t), freeport.Addr(t)
	one := runAlone(t, Options{Config: []string{config}, Plaintext: a, Replicas: []string{a, b}})
	two := runAlone(t, Options{Config: []string{config}, Plaintext: b, Replicas: []string{b, a}})
	ctx, stop := context.WithCancel(t.Context())
	var given [2]atomic.Int64
	var all sync.WaitGroup
	for i, conn := range []*grpc.ClientConn{one.conn, two.conn} {
		all.Go(func() {
			if err := lease(ctx, conn, &given[i]); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	defer all.Wait()
	defer stop()
	total := func() int64 { return given[0].Load() + given[1].Load() }
	// Both are known to be there, and what buckets held is gone.
	for deadline := time.Now().Add(time.Minute); given[0].Load() < 300 || given[1].Load() < 300; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d tokens in a minute", given[0].Load(), given[1].Load())
		}
	}
	begin, before := time.Now(), total()
	time.Sleep(3 * time.Second) // what is measured is a rate
	rate := float64(total()-before) / time.Since(begin).Seconds()
	// A machine that stalls may give what has been filled in meanwhile, a bucket at most.
	if t.Logf("%.0f tokens a second, %d and %d in all", rate, given[0].Load(), given[1].Load()); rate > 200*1.4 {
		t.Errorf("%.0f tokens a second, want 200", rate)
	}
}

// lease takes all that there is.
func lease(ctx context.Context, conn *grpc.ClientConn, given *atomic.Int64) error {
	stream, err := weftpb.NewQuotasClient(conn).Lease(ctx)
	if err != nil {
		return err
	}
	for {
		if err := stream.Send(&weftpb.LeaseRequest{Asks: []*weftpb.Ask{{Id: "default/a/spec.sets._base.descriptor[0]", Want: 200}}}); err != nil {
			return err
		}
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, g := range r.GetGrants() {
			if g.GetUnknown() {
				time.Sleep(20 * time.Millisecond) // it is not in force yet
			}
			given.Add(int64(g.GetTokens()))
		}
	}
}
