package istio

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/weftmesh/weft/base/wholefile"
)

// Write writes a certificate, its key and what is trusted, PEM all, to Output, with
// pilot-agent's names.
func (a *Agent) Write(chain, key, roots []byte) error {
	if err := os.MkdirAll(a.Output, 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"root-cert.pem", roots}, {"key.pem", key}, {"cert-chain.pem", chain}} {
		if err := wholefile.Write(filepath.Join(a.Output, f.name), f.content, 0o600); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}
