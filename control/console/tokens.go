package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// How long join tokens hold: what who says nothing gets, and the most.
const (
	DefaultTokenTTL = time.Hour
	MaxTokenTTL     = 30 * 24 * time.Hour
)

// largestAsk bounds what asks for a token, in bytes.
const largestAsk = 64 << 10

// Inviter makes join tokens: control/identity's.
type Inviter interface {
	Invite(i wire.Invitation, ttl time.Duration) (token string, expires time.Time, err error)
}

// TokenRequest asks for a join token: for a WorkloadGroup, or for a service account.
type TokenRequest struct {
	Namespace      string `json:"namespace"`
	Group          string `json:"group,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// TTL is in seconds; 0: DefaultTokenTTL.
	TTL int64 `json:"ttl,omitempty"`
}

// Token is a join token, and what it is for.
type Token struct {
	Token          string    `json:"token"`
	Expires        time.Time `json:"expires"`
	Namespace      string    `json:"namespace"`
	Group          string    `json:"group,omitempty"`
	ServiceAccount string    `json:"serviceAccount"`
}

// invite makes a join token.
func (c *Console) invite(w http.ResponseWriter, r *http.Request) {
	var q TokenRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, largestAsk)).Decode(&q); err != nil {
		fail(w, http.StatusBadRequest, "reading the request: %v", err)
		return
	}
	if c.Inviter == nil {
		fail(w, http.StatusNotImplemented, "this control plane cannot be joined from other machines: start it with --xds host:port")
		return
	}
	i, err := invitation(c.Snapshots.Load(), q)
	if err != nil {
		fail(w, http.StatusNotFound, "%v", err)
		return
	}
	ttl := time.Duration(q.TTL) * time.Second
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	if ttl < 0 || ttl > MaxTokenTTL {
		fail(w, http.StatusBadRequest, "the token is to hold %v: want more than 0 and at most %v", ttl, MaxTokenTTL)
		return
	}
	token, expires, err := c.Inviter.Invite(i, ttl)
	if err != nil {
		fail(w, http.StatusInternalServerError, "%v", err)
		return
	}
	c.Log.Info("a join token was made", "namespace", i.Namespace, "group", i.Group, "account", i.ServiceAccount, "until", expires)
	reply(w, Token{Token: token, Expires: expires, Namespace: i.Namespace, Group: i.Group, ServiceAccount: i.ServiceAccount})
}

// invitation is what a token for a request says.
func invitation(s *model.Snapshot, q TokenRequest) (wire.Invitation, error) {
	if s == nil {
		return wire.Invitation{}, fmt.Errorf("the control plane has read nothing yet: try again")
	}
	mesh := s.Mesh
	if mesh == nil {
		mesh = model.DefaultMesh()
	}
	i := wire.Invitation{Namespace: q.Namespace, ServiceAccount: q.ServiceAccount, Group: q.Group, TrustDomain: mesh.TrustDomain}
	if q.Group == "" {
		if q.ServiceAccount == "" {
			i.ServiceAccount = "default"
		}
		return i, nil
	}
	g, _ := s.Objects.Get(model.Key{Kind: model.KindWorkloadGroup, Namespace: q.Namespace, Name: q.Group}).(*model.WorkloadGroup)
	if g == nil {
		return i, fmt.Errorf("there is no WorkloadGroup %s/%s: apply one, which says what the machine's service is", q.Namespace, q.Group)
	}
	if q.ServiceAccount != "" && q.ServiceAccount != g.Template.ServiceAccount {
		return i, fmt.Errorf("WorkloadGroup %s/%s has the service account %s, and not %s: leave it out", q.Namespace, q.Group, g.Template.ServiceAccount, q.ServiceAccount)
	}
	i.ServiceAccount, i.Network, i.Probe = g.Template.ServiceAccount, g.Template.Network, g.Probe
	return i, nil
}
