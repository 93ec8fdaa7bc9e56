package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var weft = Spec{
	Name: "localhost/weft:v1", Entrypoint: []string{"/usr/local/bin/weft"}, User: "65532:65532", Labels: map[string]string{"a": "b", "c": "d"},
	Files: []File{{Path: "/usr/local/bin/weft", Content: []byte("program"), Mode: 0o755}},
}

func archived(t *testing.T, s Spec) map[string][]byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, s); err != nil {
		t.Fatal(err)
	}
	return untar(t, &out)
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for a := tar.NewReader(r); ; {
		h, err := a.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has a time: %v", h.Name, h.ModTime)
		}
		if files[h.Name], err = io.ReadAll(a); err != nil {
			t.Fatal(err)
		}
	}
}

// read follows a descriptor, and checks that its digest is that of what is there.
func read(t *testing.T, files map[string][]byte, digest string) []byte {
	t.Helper()
	b, ok := files["blobs/"+strings.Replace(digest, ":", "/", 1)]
	sum := sha256.Sum256(b)
	if !ok || digest != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Fatalf("%s: there %v, and its sum is %x", digest, ok, sum)
	}
	return b
}

type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// TestArchive reads an image as a runtime does.
func TestArchive(t *testing.T) {
	files := archived(t, weft)
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index %s: %v", files["index.json"], err)
	}
	if n := index.Manifests[0].Annotations[nameAnnotation]; n != weft.Name {
		t.Errorf("it is called %q", n)
	}
	var manifest struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if err := json.Unmarshal(read(t, files, index.Manifests[0].Digest), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("manifest: %v", err)
	}
	var config struct {
		Architecture string `json:"architecture"`
		Config       struct {
			Entrypoint []string
			User       string
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(read(t, files, manifest.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != weft.User || config.Config.Entrypoint[0] != weft.Entrypoint[0] || config.Architecture != "amd64" {
		t.Errorf("configuration: %+v", config)
	}
	z, err := gzip.NewReader(bytes.NewReader(read(t, files, manifest.Layers[0].Digest)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(raw); config.RootFS.DiffIDs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Error("the layer is not the one of the configuration")
	}
	inside := untar(t, bytes.NewReader(raw))
	if string(inside["usr/local/bin/weft"]) != "program" || !bytes.Contains(inside["etc/passwd"], []byte(":65532:")) {
		t.Errorf("files: %v", inside)
	}
	if _, ok := inside["tmp/"]; !ok {
		t.Error("it has no /tmp")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(inside[strings.TrimPrefix(authorities, "/")]) {
		t.Error("it knows no certificate authorities")
	}
}

// TestSameBytes: the order of files makes no difference, nor does the time.
func TestSameBytes(t *testing.T) {
	other := weft
	other.Files = []File{{Path: "/z", Content: []byte("z"), Mode: 0o644}, weft.Files[0]}
	first := weft
	first.Files = []File{weft.Files[0], {Path: "/z", Content: []byte("z"), Mode: 0o644}}
	var a, b bytes.Buffer
	if err := Write(&a, first); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, other); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two archives of the same files differ")
	}
}

// TestRefused: what could not run is refused, with its name.
func TestRefused(t *testing.T) {
	with := func(f func(*Spec)) Spec { s := weft; f(&s); return s }
	for want, s := range map[string]Spec{
		"REPOSITORY:TAG":   with(func(s *Spec) { s.Name = "localhost:5000/weft" }),
		"lower case":       with(func(s *Spec) { s.Name = "localhost/Weft:v1" }),
		"entrypoint":       with(func(s *Spec) { s.Entrypoint = nil }),
		"absolute":         with(func(s *Spec) { s.Files = []File{{Path: "weft", Content: nil, Mode: 0o755}} }),
		"is there twice":   with(func(s *Spec) { s.Files = []File{{Path: "/etc/passwd", Content: nil, Mode: 0o644}} }),
		`file "/../weft":`: with(func(s *Spec) { s.Files = []File{{Path: "/../weft", Content: nil, Mode: 0o755}} }),
	} {
		if err := Write(io.Discard, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Executable(script, "/x"); err == nil || !strings.Contains(err.Error(), script) {
		t.Errorf("a script: %v", err)
	}
	if _, err := Executable("/bin/sh", "/x"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("a program with libraries: %v", err)
	}
}
