// Package sds gets a workload's identity and gives it on: a client of the mesh's
// certificate authority (istio.v1.auth.IstioCertificateService) that keeps a
// certificate fresh, and an SDS server that serves it to a stock Envoy.
//
// Private keys are made here and never leave the process but through the SDS
// socket. A new certificate, with a new key, is fetched at about half of the
// old one's life; while the authority cannot be reached the old one stays, also
// past its end, for peers to judge. The package does not decide who a workload
// is: the authority reads that from the credentials of the call.
package sds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"time"

	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/base/backoff"
)

// Identity is a workload's certificate and what it trusts. Immutable.
type Identity struct {
	// Chain, leaf first, Key and Roots are PEM.
	Chain, Key, Roots []byte
	Leaf              *x509.Certificate
}

// Options of a Client.
type Options struct {
	CA capb.IstioCertificateServiceClient
	// URI is the SPIFFE name to ask for; the authority may grant another one. "" leaves it out.
	URI string
	// Validity to ask for; 0: 24 hours.
	Validity time.Duration
	// Publish is told of every new identity, from the goroutine of Run.
	Publish func(*Identity)
	Logger  *slog.Logger
	// Now is the clock; nil: the machine's.
	Now func() time.Time
}

// Client keeps an identity fresh.
type Client struct {
	opt Options
	uri *url.URL
}

const (
	defaultValidity = 24 * time.Hour
	callTimeout     = 10 * time.Second
	// minWait keeps a broken authority, whose certificates have expired on
	// arrival, from being called in a loop.
	minWait = 200 * time.Millisecond
)

// NewClient checks the options.
func NewClient(opt Options) (*Client, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Validity == 0 {
		opt.Validity = defaultValidity
	}
	c := &Client{opt: opt}
	if opt.URI != "" {
		u, err := url.Parse(opt.URI)
		if err != nil || u.Scheme != "spiffe" || u.Host == "" {
			return nil, fmt.Errorf("identity %q is not a SPIFFE name: want spiffe://trust-domain/path", opt.URI)
		}
		c.uri = u
	}
	return c, nil
}

// Run fetches identities until ctx ends; it returns ctx's error.
func (c *Client) Run(ctx context.Context) error {
	b := backoff.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	for {
		id, err := c.Fetch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.opt.Logger.Warn("certificate: not renewed, keeping what is there", "error", err)
			if err := b.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		b.Reset()
		c.opt.Publish(id)
		wait := rotateIn(id.Leaf, c.opt.Now())
		c.opt.Logger.Info("certificate: renewed", "until", id.Leaf.NotAfter, "next", wait)
		if err := c.sleep(ctx, id.Leaf, wait); err != nil {
			return err
		}
	}
}

// rotateIn is half of what is left of the certificate's life, ± 10 %, so that a
// fleet that started together does not come back together.
func rotateIn(leaf *x509.Certificate, now time.Time) time.Duration {
	half := leaf.NotAfter.Sub(now) / 2
	if half <= minWait {
		return minWait
	}
	jitter := time.Duration(mathrand.Int64N(int64(half)/5+1)) - half/10 //nolint:gosec // jitter needs no secrecy
	return half + jitter
}

// lookAtClock is how often the clock is looked at: timers do not follow when somebody
// sets it, or the machine sleeps.
const lookAtClock = 10 * time.Second

// sleep waits until a certificate is to be renewed: after a while, or as soon as the
// clock has jumped past the time for that, or back to before the certificate begins.
func (c *Client) sleep(ctx context.Context, leaf *x509.Certificate, d time.Duration) error {
	begin := c.opt.Now()
	due := begin.Add(d).Round(0) // by the clock on the wall
	begun := !begin.Before(leaf.NotBefore)
	t := time.NewTimer(min(d, lookAtClock))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := c.opt.Now()
		if wall := now.Round(0); now.Sub(begin) >= d || !wall.Before(due) || begun && wall.Before(leaf.NotBefore) {
			return nil
		}
		t.Reset(min(d-now.Sub(begin), lookAtClock))
	}
}

// Fetch makes a key and has it certified, once.
func (c *Client) Fetch(ctx context.Context) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.CertificateRequest{}
	if c.uri != nil {
		template.URIs = []*url.URL{c.uri}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make a CSR: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.opt.CA.CreateCertificate(ctx, &capb.IstioCertificateRequest{
		Csr:              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		ValidityDuration: int64(c.opt.Validity / time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return identity(r.GetCertChain(), key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// identity checks an answer: leaf first, roots last.
func identity(chain []string, key *ecdsa.PrivateKey, keyPEM []byte) (*Identity, error) {
	if len(chain) < 2 {
		return nil, fmt.Errorf("certificate authority: answer has %d certificates, want the chain and the root", len(chain))
	}
	id := &Identity{Key: keyPEM, Roots: newline(chain[len(chain)-1])}
	for _, c := range chain[:len(chain)-1] {
		id.Chain = append(id.Chain, newline(c)...)
	}
	block, _ := pem.Decode(id.Chain)
	if block == nil {
		return nil, errors.New("certificate authority: the certificate is not PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("certificate authority: the certificate is for another key")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(id.Roots) {
		return nil, errors.New("certificate authority: the root is not a PEM certificate")
	}
	id.Leaf = leaf
	return id, nil
}

func newline(s string) []byte {
	if s != "" && s[len(s)-1] != '\n' {
		s += "\n"
	}
	return []byte(s)
}
