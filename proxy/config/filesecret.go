package config

import (
	"errors"
	"fmt"
	"os"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/base/stamp"
	"github.com/weftmesh/weft/proxy/transport"
)

// fileSecret is a secret that has to do with files: it is in one (path_config_source),
// or names some that hold its parts. It is read again when these look different, so
// that it does not matter how they were replaced; Envoy's watched_directory, which
// says where to expect moves, has nothing to add to that.
type fileSecret struct {
	// name in the store of secrets.
	name string
	// path of the file with a DiscoveryResponse, and the secret's name there; "": fixed is it.
	path, inside string
	fixed        *tlsv3.Secret

	mu sync.Mutex
	// Guarded by mu.
	read bool        // once at least, and seen is of what was read
	seen stamp.Stamp // of the file, and of those that it names
	told string      // the last complaint, so that it is made once
}

// newFileSecret is what a reference to a file stands for.
func newFileSecret(n need) *fileSecret {
	return &fileSecret{name: n.name, path: n.path, inside: n.inside}
}

// look reads the secret if its files have changed, and rotates it in. It returns the
// secret, nil: nothing has changed. An error leaves the old one standing, is told once,
// and what is wrong is tried again.
func (f *fileSecret) look(store *transport.SecretStore) (*tlsv3.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read && !f.seen.Changed() {
		return nil, nil
	}
	// Stamps are taken before what they stand for is read: a change meanwhile will be seen.
	m, err, own := f.fixed, error(nil), stamp.Stamp{}
	if m == nil {
		own = stamp.Take(f.path)
		m, err = readSecretFile(f.path, f.inside)
	}
	if err == nil {
		now := own.And(stamp.Take(filesOf(m)...))
		if err = setSecret(store, f.name, m); err == nil {
			f.read, f.seen, f.told = true, now, ""
			return m, nil
		}
	}
	if f.told == err.Error() {
		return nil, nil
	}
	f.told = err.Error()
	return nil, err
}

// filesOf lists the files that a secret names.
func filesOf(m *tlsv3.Secret) (out []string) {
	c, v := m.GetTlsCertificate(), m.GetValidationContext()
	parts := append([]*corev3.DataSource{
		c.GetCertificateChain(), c.GetPrivateKey(), c.GetOcspStaple(), v.GetTrustedCa(), v.GetCrl(),
	}, m.GetSessionTicketKeys().GetKeys()...)
	for _, d := range parts {
		if name := d.GetFilename(); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// readSecretFile reads the one secret of a file that holds a DiscoveryResponse, YAML or JSON.
func readSecretFile(path, name string) (*tlsv3.Secret, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	js, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	resp, m := &discoveryv3.DiscoveryResponse{}, &tlsv3.Secret{}
	if err := protojson.Unmarshal(js, resp); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(resp.Resources) != 1 {
		return nil, fmt.Errorf("%s: resources: there are %d, want one secret", path, len(resp.Resources))
	}
	if err := open(resp.Resources[0], m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, at(err, "resources[0]"))
	}
	if m.Name != name {
		return nil, fmt.Errorf("%s: resources[0].name: is %q, want %q", path, m.Name, name)
	}
	return m, nil
}

// pathSource reads where a file with secrets is. It must be there, as for Envoy.
func pathSource(m *corev3.ConfigSource) (string, error) {
	path, field := m.GetPath(), "path" //nolint:staticcheck // deprecated, still written
	if p := m.GetPathConfigSource(); p != nil {
		path, field = p.Path, "path_config_source.path"
	}
	if path == "" {
		return "", nil
	}
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s: there is no such file", path)
	}
	return path, at(err, "%s", field)
}
