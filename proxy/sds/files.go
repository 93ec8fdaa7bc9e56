package sds

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/stamp"
)

// Names of secrets that are files, as istiod writes them for certificates which a
// DestinationRule or Gateway names by their paths.
const (
	fileCert   = "file-cert:" // CHAIN~KEY
	fileRoot   = "file-root:" // PATH, or "system"
	systemRoot = "system"
)

// systemRoots are where distributions keep the roots that they trust; the first
// one that is there counts.
var systemRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// FileSecret is the name of a secret in files, taken apart. For a certificate
// Chain and Key are set, for roots Roots is.
type FileSecret struct{ Chain, Key, Roots string }

// ParseFileSecret reads a name.
func ParseFileSecret(name string) (FileSecret, error) {
	if rest, ok := strings.CutPrefix(name, fileCert); ok {
		chain, key, ok := strings.Cut(rest, "~")
		if !ok || chain == "" || key == "" {
			return FileSecret{}, fmt.Errorf("%q: want %sCHAIN~KEY", name, fileCert)
		}
		return FileSecret{Chain: chain, Key: key}, nil
	}
	rest, ok := strings.CutPrefix(name, fileRoot)
	if !ok || rest == "" {
		return FileSecret{}, fmt.Errorf("%q is not the name of a secret in files", name)
	}
	if rest == systemRoot {
		rest = systemRoots[0]
		for _, p := range systemRoots {
			if _, err := os.Stat(p); err == nil {
				rest = p
				break
			}
		}
	}
	return FileSecret{Roots: rest}, nil
}

// Files reads secrets from files, and again when these change. Make it with
// NewFiles, and Run it.
type Files struct {
	publish func(name string, s *FileContent) error
	log     *slog.Logger
	every   time.Duration

	mu     sync.Mutex
	wanted map[string]*watched // guarded by mu
	wake   chan struct{}
}

// FileContent is what is in the files of a secret.
type FileContent struct{ Chain, Key, Roots []byte }

// watched is a secret and what its files looked like when they were read.
type watched struct {
	FileSecret
	read bool        // once at least, and seen is of what was read
	seen stamp.Stamp // only the goroutine of Run uses it
	told string      // the last complaint, so that it is made once
}

// lookEvery is how long a change may go unnoticed. Files are looked at, not
// watched: Kubernetes replaces a folder of secrets by moving a link.
const lookEvery = 2 * time.Second

// NewFiles makes Files without any secret. publish is told of each that is new or
// has changed, from the goroutine of Run; its error leaves the old one standing.
func NewFiles(publish func(name string, s *FileContent) error, log *slog.Logger) *Files {
	return &Files{publish: publish, log: log, every: lookEvery, wanted: map[string]*watched{}, wake: make(chan struct{}, 1)}
}

// Want begins with a secret, whose name ParseFileSecret accepts.
func (f *Files) Want(name string) {
	if s, err := ParseFileSecret(name); err == nil {
		f.WantAs(name, s)
	}
}

// WantAs begins with a secret whose files its name does not tell.
func (f *Files) WantAs(name string, s FileSecret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted[name] == nil {
		f.wanted[name] = &watched{FileSecret: s}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// Drop ends with a secret.
func (f *Files) Drop(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.wanted, name)
}

// Run looks at the files until ctx ends; it returns ctx's error.
func (f *Files) Run(ctx context.Context) error {
	t := time.NewTimer(f.every)
	defer t.Stop()
	for {
		if f.look() > 0 {
			t.Reset(f.every)
		} else { // nothing is to be done while nobody wants one
			t.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
		case <-t.C:
		}
	}
}

// look reads what has changed and returns the number of secrets.
func (f *Files) look() int {
	f.mu.Lock()
	names := make(map[string]*watched, len(f.wanted))
	for n, w := range f.wanted {
		names[n] = w
	}
	f.mu.Unlock()
	for n, w := range names {
		if w.read && !w.seen.Changed() {
			continue
		}
		now := stamp.Take(w.paths()...)
		c, err := w.content()
		if err == nil {
			err = f.publish(n, c)
		}
		if err != nil {
			if text := err.Error(); text != w.told {
				w.told = text
				f.log.Warn("secret in files: not usable, keeping what is there", "name", n, "error", err)
			}
			continue
		}
		w.read, w.seen, w.told = true, now, ""
	}
	return len(names)
}

// paths are those of the secret's files.
func (s FileSecret) paths() (out []string) {
	for _, p := range []string{s.Chain, s.Key, s.Roots} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

func (s FileSecret) content() (*FileContent, error) {
	c := &FileContent{}
	for _, p := range []struct {
		path string
		to   *[]byte
	}{{s.Chain, &c.Chain}, {s.Key, &c.Key}, {s.Roots, &c.Roots}} {
		if p.path == "" {
			continue
		}
		b, err := os.ReadFile(p.path)
		if err != nil {
			return nil, err
		}
		*p.to = b
	}
	return c, nil
}
