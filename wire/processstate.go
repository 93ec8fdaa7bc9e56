package wire

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// ProcessStateVersion is the version of the format of ProcessState.
const ProcessStateVersion = 1

// ProcessState is what a supervisor tells the control plane about the
// instances it runs. It is a file, replaced as a whole (WriteFile), so that the
// control plane may start first, last, or again.
type ProcessState struct {
	Version  int       `json:"version"`
	Replicas []Replica `json:"replicas"`
}

// Replica is one running instance of a Process, or a gateway.
type Replica struct {
	// Name is unique in the namespace ("reviews-v2-0"); App the Process it belongs to.
	Name      string `json:"name"`
	App       string `json:"app,omitempty"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster,omitempty"`
	Network   string `json:"network,omitempty"`
	// Addresses of either family, the preferred one first.
	Addresses      []netip.Addr      `json:"addresses"`
	Labels         map[string]string `json:"labels,omitempty"`
	Annotations    map[string]string `json:"annotations,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"` // empty: "default"
	TrustDomain    string            `json:"trustDomain,omitempty"`    // empty: the mesh's
	Region         string            `json:"region,omitempty"`
	Zone           string            `json:"zone,omitempty"`
	SubZone        string            `json:"subZone,omitempty"`
	Weight         uint32            `json:"weight,omitempty"`
	// Ports by name, for services that target a named port.
	Ports map[string]uint16 `json:"ports,omitempty"`
	// Inbound, for capture mode "proxy" only: by port of the service's target,
	// where the sidecar listens and where the program really does.
	Inbound map[uint16]ReplicaPort `json:"inbound,omitempty"`
	// Ready: the instance takes traffic. Mesh: it has a sidecar or is a gateway.
	Ready   bool `json:"ready"`
	Mesh    bool `json:"mesh,omitempty"`
	Gateway bool `json:"gateway,omitempty"`
	// Engine is "go", "envoy" or "none".
	Engine string `json:"engine,omitempty"`
	// TokenHash is the hex SHA-256 of the bearer token of the instance's proxy.
	TokenHash string `json:"tokenHash,omitempty"`
	// Started is when it was first started, in Unix nanoseconds.
	Started int64 `json:"started,omitempty"`
}

// ReplicaPort is one entry of Replica.Inbound.
type ReplicaPort struct {
	Listen  uint16 `json:"listen"`
	Program uint16 `json:"program"`
}

// WriteFile replaces the file at path atomically; only its user may read it.
func (s ProcessState) WriteFile(path string) error {
	s.Version = ProcessStateVersion
	if s.Replicas == nil {
		s.Replicas = []Replica{}
	}
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("process state: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("process state: %w", err)
	}
	_, err = f.Write(append(raw, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("process state: %w", err)
	}
	return nil
}

// ParseProcessState reads what WriteFile wrote.
func ParseProcessState(raw []byte) (ProcessState, error) {
	var s ProcessState
	if err := json.Unmarshal(raw, &s); err != nil {
		return ProcessState{}, fmt.Errorf("process state: %w", err)
	}
	if s.Version != ProcessStateVersion {
		return ProcessState{}, fmt.Errorf("process state: version %d, want %d (supervisor and control plane are of different releases)", s.Version, ProcessStateVersion)
	}
	for i := range s.Replicas {
		if r := &s.Replicas[i]; r.Name == "" || r.Namespace == "" {
			return ProcessState{}, fmt.Errorf("process state: replicas[%d] has no name or no namespace", i)
		}
	}
	return s, nil
}
