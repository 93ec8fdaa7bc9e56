// Package image writes container images as OCI archives, without a builder, a registry or a
// base image: one layer with some files, an ordinary user, and the public certificate
// authorities. `ctr images import` and what else reads OCI layouts take them.
//
// The same files make the same bytes: there are no times in an image, and the authorities
// are those that the module's go.sum pins, not those of the machine.
//
// It builds no programs, and pushes nothing.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// File is what an image has at a path.
type File struct {
	// Path is absolute, Content what is in it, Mode its permissions.
	Path    string
	Content []byte
	Mode    int64
	// Link, when set, is what a symbolic link at the path leads to.
	Link string
}

// Spec is what an image is to be.
type Spec struct {
	// Name is "repository:tag".
	Name string
	// Entrypoint is the program, with the arguments that it always has.
	Entrypoint []string
	// User is "uid:gid", which runs it; "": root.
	User string
	// Files beside those that every image has.
	Files []File
	// Labels are those of the image's configuration, e.g. its version.
	Labels map[string]string
	// Architecture as Go calls it; "": amd64.
	Architecture string
}

// The users that images know.
const (
	// NonRoot runs the control plane.
	NonRoot = 65532
	// Proxy runs proxies; redirect rules know them by it, as they do Istio's.
	Proxy = 1337
)

// authorities is where programs look for public certificate authorities.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// base are the files of every image.
func base() []File {
	users := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nistio-proxy:x:%d:%[1]d::/:/sbin/nologin\nnonroot:x:%d:%[2]d::/:/sbin/nologin\n", Proxy, NonRoot)
	groups := fmt.Sprintf("root:x:0:\nistio-proxy:x:%d:\nnonroot:x:%d:\n", Proxy, NonRoot)
	var roots bytes.Buffer
	for c := range bundle.Roots() {
		if c.Constraint == nil { // a file of certificates cannot say what else one is not to be trusted with
			_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate}) // memory takes all
		}
	}
	return []File{
		{Path: "/etc/passwd", Content: []byte(users), Mode: 0o644},
		{Path: "/etc/group", Content: []byte(groups), Mode: 0o644},
		{Path: "/etc/nsswitch.conf", Content: []byte("hosts: files dns\n"), Mode: 0o644},
		{Path: authorities, Content: roots.Bytes(), Mode: 0o644},
	}
}

// Executable reads a program for an image. One that needs libraries is refused, since images
// have none.
func Executable(file, at string) (File, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return File{}, err
	}
	if err := static(raw); err != nil {
		return File{}, fmt.Errorf("%s: %w", file, err)
	}
	return File{Path: at, Content: raw, Mode: 0o755}, nil
}

// Write writes an image as an OCI archive.
func Write(w io.Writer, s Spec) error {
	if repository, tag, ok := cutTag(s.Name); !ok {
		return fmt.Errorf("image name %q: want REPOSITORY:TAG", s.Name)
	} else if repository != strings.ToLower(repository) {
		return fmt.Errorf("image name %q: want lower case in %s (its tag %s may have others)", s.Name, repository, tag)
	}
	if len(s.Entrypoint) == 0 {
		return errors.New("an image needs an entrypoint")
	}
	s.Architecture = cmp.Or(s.Architecture, "amd64")
	img, err := build(s)
	if err != nil {
		return fmt.Errorf("image %s: %w", s.Name, err)
	}
	if err := archive(w, s, img); err != nil {
		return fmt.Errorf("image %s: %w", s.Name, err)
	}
	return nil
}

// cutTag splits "repository:tag"; a port of a registry is no tag.
func cutTag(name string) (repository, tag string, ok bool) {
	i := strings.LastIndexByte(name, ':')
	if i < 1 || i == len(name)-1 || strings.ContainsRune(name[i:], '/') {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

func build(s Spec) (v1.Image, error) {
	raw, err := layerOf(append(base(), s.Files...))
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = s.Architecture, "linux"
	config.Config = v1.Config{
		Entrypoint: s.Entrypoint, User: s.User, WorkingDir: "/", Labels: s.Labels,
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "SSL_CERT_FILE=" + authorities},
	}
	return mutate.ConfigFile(img, config)
}

// layerOf is a tar archive of files and the folders that they are in.
func layerOf(files []File) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{"/": true}
	var folder func(dir string, mode int64) error
	folder = func(dir string, mode int64) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := folder(path.Dir(dir), 0o755); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: mode, Format: tar.FormatUSTAR})
	}
	if err := folder("/tmp", 0o1777); err != nil {
		return nil, err
	}
	for i, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return nil, fmt.Errorf("file %q: want an absolute path", f.Path)
		}
		if i > 0 && files[i-1].Path == f.Path {
			return nil, fmt.Errorf("file %q is there twice", f.Path)
		}
		if err := folder(path.Dir(f.Path), 0o755); err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Linkname: f.Link, Name: strings.TrimPrefix(f.Path, "/"), Mode: f.Mode, Size: int64(len(f.Content)), Format: tar.FormatUSTAR}
		if f.Link != "" {
			h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
