package identity

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/wire"
)

// TestInvite: a token of one replica is known by another with the same root, until it ends, and
// by no other mesh.
func TestInvite(t *testing.T) {
	dir := t.TempDir()
	authority := func(dir string) *Authority {
		ca, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	inviter := func(ca *Authority) *Inviter {
		v, err := ca.Inviter(DefaultAudience)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	token, expires, err := inviter(authority(dir)).Invite(wire.Invitation{Namespace: "vms", ServiceAccount: "shop", Group: "shop", TrustDomain: "cluster.local", Probe: json.RawMessage(`{"tcpSocket":{"port":1}}`)}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	i, err := wire.ReadInvitation(token + "\n")
	if err != nil || i.Namespace != "vms" || i.Group != "shop" || len(i.Root) != 64 || !i.Expires.Equal(expires.Truncate(time.Second)) || string(i.Probe) != `{"tcpSocket":{"port":1}}` {
		t.Errorf("%+v, %v", i, err)
	}
	prove := func(ca *Authority, token string) (Account, error) {
		p := NewProver([]*Issuer{inviter(ca).Issuer()}, func() []string { return []string{"cluster.local"} })
		return p.Account(metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+token)))
	}
	if a, err := prove(authority(dir), token); err != nil || a != (Account{"cluster.local", "vms", "shop"}) {
		t.Errorf("another replica: %v, %v", a, err)
	}
	late := authority(dir)
	late.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, err := prove(late, token); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end: %v", err)
	}
	if a, err := prove(authority(t.TempDir()), token); err == nil {
		t.Errorf("another mesh takes it for %v", a)
	}
}

// TestReadInvitation: what is no invitation is said to be none.
func TestReadInvitation(t *testing.T) {
	for _, text := range []string{"", "a.b", "a.!.c", "a.e30.c", "a.eyJpc3MiOiJlbHNlIn0.c"} {
		if i, err := wire.ReadInvitation(text); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("%q: %+v, %v", text, i, err)
		}
	}
}
