package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var certs struct {
	once   sync.Once
	client *tls.Config
}

// makeCerts writes a root and one certificate for both sides.
func makeCerts(dir string) {
	certs.once.Do(func() {
		root, rootKey := certificate(nil, nil)
		leaf, key := certificate(root, rootKey)
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		write(dir, "ca.pem", "CERTIFICATE", root.Raw)
		write(dir, "cert.pem", "CERTIFICATE", leaf.Raw)
		write(dir, "key.pem", "EC PRIVATE KEY", der)
		certs.client = &tls.Config{
			Certificates:       []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
			InsecureSkipVerify: true, //nolint:gosec // the client is not what is measured
			MinVersion:         tls.VersionTLS13,
			ServerName:         "up",
		}
	})
}

// certificate makes one; without an issuer a root.
func certificate(issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{"bench"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	if issuer == nil {
		t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign
		issuer, issuerKey = t, key
	} else {
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/bench"}}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return c, key
}

func write(dir, name, kind string, der []byte) {
	if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		panic("BUG: " + err.Error())
	}
}

// handshakes opens n connections one after the other on 8 lanes, each with one
// request; nine of ten resume a session.
func handshakes(_ context.Context, addr string, n int) ([]time.Duration, error) {
	const lanes, fresh = 8, 10
	return parallel(lanes, func(lane int) ([]time.Duration, error) {
		cfg := certs.client.Clone()
		var times []time.Duration
		for i := lane; i < n; i += lanes {
			if (i/lanes)%fresh == 0 {
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			begin := time.Now()
			c, err := tls.Dial("tcp", addr, cfg)
			if err != nil {
				return nil, err
			}
			err = exchange(c, bufio.NewReader(c), request())
			c.Close()
			if err != nil {
				return nil, err
			}
			times = append(times, time.Since(begin))
		}
		return times, nil
	})
}

// held are connections that stay open until the process ends: what is read off is
// the proxy's memory.
var held []net.Conn

// hold opens connections, each with one request, and leaves them.
func hold(_ context.Context, addr string, n int) ([]time.Duration, error) {
	return nil, keep(n, func() (net.Conn, error) { return net.Dial("tcp", addr) })
}

// holdTLS is hold over mutual TLS.
func holdTLS(_ context.Context, addr string, n int) ([]time.Duration, error) {
	return nil, keep(n, func() (net.Conn, error) { return tls.Dial("tcp", addr, certs.client) })
}

func keep(n int, dial func() (net.Conn, error)) error {
	for _, c := range held {
		c.Close()
	}
	held = held[:0]
	for range n {
		c, err := dial()
		if err != nil {
			return err
		}
		held = append(held, c)
		if err := exchange(c, bufio.NewReader(c), request()); err != nil {
			return err
		}
	}
	return nil
}
