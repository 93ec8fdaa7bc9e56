package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// JoinIssuer is the issuer (RFC 7519, iss) of the tokens by which machines join a mesh.
const JoinIssuer = "weft.dev/join"

// Invitation is what a join token says: who its bearer becomes, and how he knows the mesh
// again. It is in the claims of the token, beside the registered ones.
type Invitation struct {
	// Namespace and ServiceAccount are who the machine's workload is; Group is its
	// WorkloadGroup in the namespace, "": none.
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	Group          string `json:"group,omitempty"`
	// TrustDomain is the mesh's, Network the group's.
	TrustDomain string `json:"trustDomain"`
	Network     string `json:"network,omitempty"`
	// Root is the SHA-256 of the mesh's root certificate (its DER), in hex.
	Root string `json:"root"`
	// Probe is the group's, as ProxyConfig.readinessProbe has it; nil: none.
	Probe json.RawMessage `json:"probe,omitempty"`
	// Expires is when the token ends.
	Expires time.Time `json:"-"`
}

// claims are those of a token that are read here.
type claims struct {
	Issuer     string      `json:"iss"`
	Expires    int64       `json:"exp"`
	Invitation *Invitation `json:"invitation"`
}

// ReadInvitation reads a join token, whose signature only the mesh can check.
func ReadInvitation(token string) (Invitation, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return Invitation{}, errors.New("it is no join token: want what `weft token create` printed, whole")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Invitation{}, fmt.Errorf("it is no join token: %w", err)
	}
	var c claims
	if err := json.Unmarshal(raw, &c); err != nil {
		return Invitation{}, fmt.Errorf("it is no join token: %w", err)
	}
	if c.Issuer != JoinIssuer || c.Invitation == nil || c.Invitation.Root == "" || c.Invitation.Namespace == "" {
		return Invitation{}, fmt.Errorf("it is a token of %q and no invitation: want what `weft token create` printed", c.Issuer)
	}
	c.Invitation.Expires = time.Unix(c.Expires, 0)
	return *c.Invitation, nil
}
