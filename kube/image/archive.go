package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which an archive says what its image is called: containerd's, and OCI's,
// which has the tag only.
const (
	nameAnnotation = "io.containerd.image.name"
	tagAnnotation  = "org.opencontainers.image.ref.name"
)

// blob is a part of an archive, by its digest.
type blob struct {
	digest  v1.Hash
	content []byte
}

// archive writes an image as the tar archive of an OCI layout.
func archive(w io.Writer, s Spec, img v1.Image) error {
	_, tag, _ := cutTag(s.Name)
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{Architecture: s.Architecture, OS: "linux"},
			Annotations: map[string]string{nameAnnotation: s.Name, tagAnnotation: tag},
		},
	})
	top, err := index.RawManifest()
	if err != nil {
		return err
	}
	blobs, err := blobsOf(img)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	put := func(name string, content []byte) error {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := t.Write(content)
		return err
	}
	if err := put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := put("index.json", top); err != nil {
		return err
	}
	for _, b := range blobs {
		if err := put("blobs/"+b.digest.Algorithm+"/"+b.digest.Hex, b.content); err != nil {
			return err
		}
	}
	return t.Close()
}

// blobsOf are the manifest, the configuration and the layers.
func blobsOf(img v1.Image) ([]blob, error) {
	var out []blob
	manifest, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	for _, content := range [][]byte{manifest, config} {
		digest, _, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			return nil, err
		}
		out = append(out, blob{digest, content})
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		r, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		out = append(out, blob{digest, content})
	}
	return out, nil
}

// static tells whether a program runs without libraries.
func static(program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("it is no program for Linux: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs libraries, and the image has none: build it with CGO_ENABLED=0 (make images does)")
		}
	}
	return nil
}
