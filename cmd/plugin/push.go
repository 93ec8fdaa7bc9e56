package plugin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Media types of images of modules.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.module.wasm.config.v1+json"
	layerType    = "application/vnd.module.wasm.content.layer.v1+wasm"
)

// Image is where a module goes.
type Image struct {
	// Ref is "host/repository:tag".
	Ref string
	// User is "name:password"; "": none.
	User string
	// Plain has it go out in plain text.
	Plain bool
}

// Push packs a module as an image of one layer, and sends it to a registry. The result is the image's digest.
func Push(ctx context.Context, c *http.Client, file string, to Image) (string, error) {
	code, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(code, []byte("\x00asm")) {
		return "", fmt.Errorf("%s is no WebAssembly module", file)
	}
	host, rest, ok := strings.Cut(strings.TrimPrefix(to.Ref, "oci://"), "/")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 1 {
		return "", fmt.Errorf("%q names no image: write host/repository:tag", to.Ref)
	}
	p := &pusher{client: c, base: "https://" + host + "/v2/" + rest[:i], user: to.User}
	if to.Plain {
		p.base = "http://" + host + "/v2/" + rest[:i]
	}
	config := []byte("{}")
	for _, blob := range [][]byte{config, code} {
		if err := p.blob(ctx, blob); err != nil {
			return "", err
		}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": described(configType, config), "layers": []any{described(layerType, code)},
	})
	if err != nil {
		return "", err
	}
	r, err := p.do(ctx, http.MethodPut, p.base+"/manifests/"+rest[i+1:], manifestType, manifest)
	if err != nil {
		return "", err
	}
	if r.code != http.StatusCreated {
		return "", fmt.Errorf("the registry answers %s to the manifest", r.status)
	}
	return digest(manifest), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func described(kind string, b []byte) map[string]any {
	return map[string]any{"mediaType": kind, "digest": digest(b), "size": len(b)}
}

// pusher writes to one repository.
type pusher struct {
	client     *http.Client
	base, user string
}

// answer is a registry's, whose body nobody wants.
type answer struct {
	code             int
	status, location string
}

func (p *pusher) do(ctx context.Context, method, to, kind string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if name, password, ok := strings.Cut(p.user, ":"); ok {
		req.SetBasicAuth(name, password)
	}
	r, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	return answer{r.StatusCode, r.Status, r.Header.Get("Location")}, errors.Join(err, r.Body.Close())
}

// blob sends a blob, unless the registry has it.
func (p *pusher) blob(ctx context.Context, b []byte) error {
	r, err := p.do(ctx, http.MethodHead, p.base+"/blobs/"+digest(b), "", nil)
	if err != nil {
		return err
	}
	if r.code == http.StatusOK {
		return nil
	}
	if r, err = p.do(ctx, http.MethodPost, p.base+"/blobs/uploads/", "", nil); err != nil {
		return err
	}
	if r.code != http.StatusAccepted {
		return fmt.Errorf("the registry answers %s to an upload: are the credentials right?", r.status)
	}
	to, err := url.Parse(r.location)
	if err != nil {
		return err
	}
	at, err := url.Parse(p.base)
	if err != nil {
		return err
	}
	to = at.ResolveReference(to)
	if to.Host != at.Host && p.user != "" {
		return errors.New("the registry would have credentials go to another host")
	}
	q := to.Query()
	q.Set("digest", digest(b))
	to.RawQuery = q.Encode()
	if r, err = p.do(ctx, http.MethodPut, to.String(), "application/octet-stream", b); err != nil {
		return err
	}
	if r.code != http.StatusCreated {
		return fmt.Errorf("the registry answers %s to a layer", r.status)
	}
	return nil
}
