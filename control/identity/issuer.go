package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// DefaultAudience is the audience of tokens that are for Istio's certificate authority.
const DefaultAudience = "istio-ca"

// How keys are fetched: not more often than, how long that may take, how large they may be,
// and how old they may be while nobody asks for another.
const (
	fetchPause = 10 * time.Second
	fetchBound = 5 * time.Second
	largestSet = 1 << 20
	keysAge    = time.Hour
)

// algorithms of signatures that are taken.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// Issuer is an issuer of tokens (RFC 7519) whose keys (RFC 7517) are known, or can be fetched.
type Issuer struct {
	audience string
	from     string // a file, or a URL
	base     string // of a server that says what the issuer is called; empty: name is known
	client   *http.Client
	now      func() time.Time
	fixed    bool // keys are all that there will be

	mu      sync.Mutex
	name    string              // guarded by mu where base is set
	keys    *jose.JSONWebKeySet // guarded by mu
	fetched time.Time           // when that was tried last; guarded by mu
}

// ParseIssuer reads "ISSUER=KEYS" or "ISSUER": KEYS is a file or an http(s) URL of a JSON web
// key set, by default what the issuer's discovery document names. audience is whom its
// tokens have to be for.
func ParseIssuer(text, audience string) (*Issuer, error) {
	name, from, _ := strings.Cut(text, "=")
	if name == "" {
		return nil, fmt.Errorf("%q: want ISSUER, or ISSUER=FILE or ISSUER=URL of its keys", text)
	}
	i := &Issuer{name: name, audience: audience, from: from, client: &http.Client{Timeout: fetchBound}, now: time.Now}
	if u, err := url.Parse(name); from == "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		return nil, fmt.Errorf("%q: the issuer is no URL where its keys could be found: write %s=FILE", text, name)
	}
	if from != "" && !remote(from) {
		abs, err := filepath.Abs(from)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		i.from = abs
		if err := read(abs, &jose.JSONWebKeySet{}); err != nil { // a wrong path shows at the start
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	return i, nil
}

// Discover is the issuer that a server says that it is: the API server of a Kubernetes cluster
// at a URL, which has its discovery document and its keys at the usual paths whatever
// the issuer is called. The client proves who asks. It is asked when the first token comes.
func Discover(base, audience string, client *http.Client) *Issuer {
	return &Issuer{base: strings.TrimSuffix(base, "/"), audience: audience, client: client, now: time.Now}
}

// Paths of an API server.
const (
	documentPath = "/.well-known/openid-configuration"
	keysPath     = "/openid/v1/jwks"
)

// is tells whether the issuer is the one of that name. One that could not be asked what it
// is called may be.
func (i *Issuer) is(ctx context.Context, name string) (bool, error) {
	if i.base == "" {
		return i.name == name, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.name == "" {
		var d struct {
			Issuer string `json:"issuer"`
		}
		if err := i.get(ctx, i.base+documentPath, &d); err != nil {
			return false, err
		}
		i.name = d.Issuer
	}
	return i.name == name, nil
}

func remote(from string) bool {
	return strings.HasPrefix(from, "https://") || strings.HasPrefix(from, "http://")
}

// verify returns the subject of a token of one of the issuers.
func verify(ctx context.Context, issuers []*Issuer, token string) (string, error) {
	t, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return "", fmt.Errorf("it is no signed JSON web token: %w", err)
	}
	var said jwt.Claims
	if err := t.UnsafeClaimsWithoutVerification(&said); err != nil {
		return "", err
	}
	var unknown error
	for _, i := range issuers {
		switch ok, err := i.is(ctx, said.Issuer); {
		case ok:
			return i.check(ctx, t, said.Issuer)
		case err != nil:
			unknown = fmt.Errorf("; what issuer the cluster is, is not known: %w", err)
		}
	}
	if unknown != nil {
		return "", fmt.Errorf("its issuer %q is not trusted%w", said.Issuer, unknown)
	}
	return "", fmt.Errorf("its issuer %q is not trusted: name it with --token-issuer", said.Issuer)
}

// check returns the subject of a token of the issuer, which has that name.
func (i *Issuer) check(ctx context.Context, t *jwt.JSONWebToken, name string) (string, error) {
	id := ""
	if len(t.Headers) > 0 {
		id = t.Headers[0].KeyID
	}
	keys, err := i.set(ctx, id)
	if err != nil {
		return "", fmt.Errorf("the keys of %s: %w", name, err)
	}
	var c jwt.Claims
	if err := t.Claims(keys, &c); err != nil {
		return "", err
	}
	if c.Expiry == nil {
		return "", errors.New("it does not expire")
	}
	return c.Subject, c.ValidateWithLeeway(jwt.Expected{Issuer: name, AnyAudience: jwt.Audience{i.audience}, Time: i.now()}, time.Minute)
}

// set is the issuer's keys, fetched anew when they are old or lack the one that is asked
// for. What was fetched before serves while they cannot be had.
func (i *Issuer) set(ctx context.Context, id string) (*jose.JSONWebKeySet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fixed {
		return i.keys, nil
	}
	now := i.now()
	age := now.Sub(i.fetched)
	lacks := i.keys == nil || id != "" && len(i.keys.Key(id)) == 0
	if age < fetchPause || !lacks && age < keysAge {
		if i.keys == nil {
			return nil, errors.New("could not be fetched a moment ago")
		}
		return i.keys, nil
	}
	i.fetched = now
	keys, err := i.fetch(ctx)
	if err == nil {
		i.keys = keys
	}
	if i.keys == nil {
		return nil, err
	}
	return i.keys, nil
}

func (i *Issuer) fetch(ctx context.Context) (*jose.JSONWebKeySet, error) {
	from := i.from
	if i.base != "" {
		from = i.base + keysPath
	}
	if from == "" {
		var d struct {
			Keys string `json:"jwks_uri"`
		}
		if err := i.get(ctx, strings.TrimSuffix(i.name, "/")+"/.well-known/openid-configuration", &d); err != nil {
			return nil, err
		}
		if !remote(d.Keys) {
			return nil, fmt.Errorf("the discovery document names %q for its keys", d.Keys)
		}
		from = d.Keys
	}
	keys := &jose.JSONWebKeySet{}
	if err := i.get(ctx, from, keys); err != nil {
		return nil, err
	}
	if len(keys.Keys) == 0 {
		return nil, fmt.Errorf("%s has no keys", from)
	}
	return keys, nil
}

// get reads JSON of a file or URL.
func (i *Issuer) get(ctx context.Context, from string, into any) error {
	if !remote(from) {
		return read(from, into)
	}
	raw, err := i.download(ctx, from)
	if err != nil {
		return err
	}
	return parseJSON(from, raw, into)
}

func read(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return parseJSON(path, raw, into)
}

func parseJSON(from string, raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

func (i *Issuer) download(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, largestSet))
}
