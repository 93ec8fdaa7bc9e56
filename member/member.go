// Package member makes a machine's service part of a mesh that runs elsewhere. Enroll turns a
// join token into an identity and keeps that; Run stands in for the machine's place in the
// mesh while it runs: the proxy, the rules that lead traffic to it, and, when told so, the
// service itself.
//
// Guarantees: the control plane is known again by the root certificate that the token names,
// before the token is shown to it. The certificate and its key are readable by the proxy's user only. After a
// restart or a reboot no token is needed while the certificate holds, which the proxy renews
// by itself. While the control plane is away what runs goes on. A proxy that ends is started
// again; the rules stay meanwhile, so that nothing goes past it. Rules are taken back when Run
// returns.
//
// It does not install itself as a service of the machine; see Unit.
package member

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/wire"
)

// DefaultDir is where a machine keeps that it is a member.
const DefaultDir = "/var/lib/weft"

// Files below the folder.
const (
	stateFile = "member.json"
	certsDir  = "certs"
	chainFile = "cert-chain.pem"
	keyFile   = "key.pem"
	rootFile  = "root-cert.pem"
	pidFile   = "join.pid"
)

// State is what a machine keeps of its membership, beside its certificate.
type State struct {
	// Address is the control plane's host:port, ServerName what its certificate is for.
	Address    string `json:"address"`
	ServerName string `json:"serverName"`
	// Name is the workload's, IP the address that others reach it at.
	Name       string          `json:"name"`
	IP         string          `json:"ip"`
	Invitation wire.Invitation `json:"invitation"`
}

// ErrNoMember is when a folder has no membership.
var ErrNoMember = errors.New("this machine is no member of a mesh")

// Load reads the membership that is kept in a folder; ErrNoMember: there is none.
func Load(dir string) (*State, error) {
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not there: run `weft join URL --token …` with a token of `weft token create`", ErrNoMember, filepath.Join(dir, stateFile))
	}
	if err != nil {
		return nil, err
	}
	s := &State{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("%s: %w: join again with a new token", filepath.Join(dir, stateFile), err)
	}
	return s, nil
}

// save keeps the membership.
func (s *State) save(dir string) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(dir, stateFile), append(raw, '\n'), 0o600)
}

// Holds tells until when the certificate that is kept in a folder holds, or why there is
// none that can be used.
func Holds(dir string, now time.Time) (time.Time, error) {
	path := filepath.Join(dir, certsDir, chainFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("the machine's certificate: %w: join again with a new token", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return time.Time{}, fmt.Errorf("the machine's certificate: %s has none: join again with a new token", path)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("the machine's certificate: %s: %w: join again with a new token", path, err)
	}
	if !now.Before(leaf.NotAfter) {
		return leaf.NotAfter, fmt.Errorf("the machine's certificate has ended %s, while it was away: join again with a new token", leaf.NotAfter.Local().Format(time.DateTime))
	}
	return leaf.NotAfter, nil
}

// Forget removes what a folder keeps of a membership.
func Forget(dir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, certsDir)), remove(filepath.Join(dir, stateFile)))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
