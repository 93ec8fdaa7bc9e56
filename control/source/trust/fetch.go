package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/control/source/refetch"
)

// What an answer may take, and how large it may be.
const (
	fetchBound = 10 * time.Second
	most       = 1 << 20
)

func secure() http.RoundTripper {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// get fetches a bundle and says when it is to be fetched again. domain is for messages of
// the library only: a document does not name the domain that it is of.
func get(ctx context.Context, c *http.Client, url, domain string) (roots string, refresh time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return "", 0, err
	}
	if len(raw) > most {
		return "", 0, fmt.Errorf("%s is larger than %d bytes", url, most)
	}
	td, err := spiffeid.TrustDomainFromString(domain)
	if err != nil {
		return "", 0, err
	}
	b, err := spiffebundle.Parse(td, raw)
	if err != nil {
		return "", 0, fmt.Errorf("%s is no SPIFFE bundle: %w", url, err)
	}
	if roots = inPEM(b.X509Authorities()); roots == "" {
		return "", 0, fmt.Errorf("%s has no authority of X.509 certificates (use: x509-svid)", url)
	}
	refresh, ok := b.RefreshHint()
	if !ok || refresh <= 0 {
		refresh = usualRefresh
	}
	return roots, min(max(refresh, refetch.FirstRetry), longestRefresh), nil
}

func inPEM(list []*x509.Certificate) string {
	var out strings.Builder
	for _, c := range list {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.String()
}

// file is the name of the file in Options.Dir: a map of URLs to PEM.
const file = "trust.json"

// unmarshal reads what was saved, and leaves out what has no certificate.
func unmarshal(raw []byte) (map[string]string, error) {
	out := map[string]string{}
	err := json.Unmarshal(raw, &out)
	for url, text := range out {
		if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
			delete(out, url)
		}
	}
	return out, err
}
