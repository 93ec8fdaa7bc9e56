package jwks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// most is how large an answer may be.
const most = 1 << 20

// transport connects to no blocked address, whatever a name resolves to and
// wherever a redirect leads.
func (s *Source) transport() http.RoundTripper {
	d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		for _, p := range s.blocked.Load().Blocked {
			if p.Contains(a.Addr().Unmap()) {
				return fmt.Errorf("%s is blocked by the mesh (%s)", a.Addr(), p)
			}
		}
		return nil
	}}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DialContext: d.DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// get fetches a key set, of which at least one key can be used.
func (s *Source) get(ctx context.Context, from model.KeySource, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	uri := from.URI
	if uri == "" {
		raw, err := s.content(ctx, strings.TrimSuffix(from.Issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return "", err
		}
		var oidc struct {
			URI string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(raw, &oidc); err != nil || oidc.URI == "" {
			return "", errors.New("the issuer's OpenID configuration has no jwks_uri")
		}
		uri = oidc.URI
	}
	raw, err := s.content(ctx, uri)
	if err != nil {
		return "", err
	}
	n, _, err := Check(string(raw))
	if err != nil {
		return "", fmt.Errorf("%s: %w", uri, err)
	}
	if n == 0 {
		return "", fmt.Errorf("%s has no key that can be used", uri)
	}
	return string(raw), nil
}

func (s *Source) content(ctx context.Context, uri string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("%s answers %s", uri, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", uri, most)
	}
	return raw, nil
}
