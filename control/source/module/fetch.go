package module

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// most bounds a module, and an image.
const most = 256 << 20

// Media types of images.
const (
	wasmLayer   = "application/vnd.module.wasm.content.layer.v1+wasm"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

var manifests = []string{
	ociManifest, ociIndex, "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}

// Fetch gets a module from a URL: file, http, https, or oci (host/repository:tag or @digest). sum is its SHA-256, or
// that of the image's manifest; "": any. docker is a .dockerconfigjson, nil: no credentials.
func Fetch(ctx context.Context, c *http.Client, from, sum string, docker []byte) ([]byte, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, err
	}
	var code []byte
	image := ""
	switch u.Scheme {
	case "file":
		code, err = os.ReadFile(u.Path)
	case "http", "https":
		var r *http.Response
		if r, err = get(ctx, c, from, nil, ""); err == nil {
			code, err = body(r)
		}
	case "oci":
		code, image, err = pull(ctx, c, strings.TrimPrefix(from, "oci://"), docker)
	default:
		err = fmt.Errorf("%q is no scheme that can be fetched from", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	if err := check(code); err != nil {
		return nil, err
	}
	if got := digest(code); sum != "" && got != sum && image != sum {
		return nil, fmt.Errorf("has the SHA-256 %s, not %s", got, sum)
	}
	return code, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func get(ctx context.Context, c *http.Client, from string, accept []string, auth string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	for _, a := range accept {
		req.Header.Add("Accept", a)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return c.Do(req)
}

// body reads a good answer.
func body(r *http.Response) ([]byte, error) {
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", r.Request.URL.Redacted(), r.Status)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("is larger than %d bytes", most)
	}
	return b, err
}

// registry is one repository of a registry.
type registry struct {
	client           *http.Client
	base, host, repo string
	basic            string // user:password in base64
	auth             string
}

// pull gets the module out of an image; image is the SHA-256 of its manifest.
func pull(ctx context.Context, c *http.Client, ref string, docker []byte) (code []byte, image string, err error) {
	host, rest, ok := strings.Cut(ref, "/")
	if !ok {
		return nil, "", fmt.Errorf("%q is no image: write host/repository:tag", ref)
	}
	repo, at := rest, "latest"
	if name, d, ok := strings.Cut(rest, "@"); ok {
		repo, at = name, d
	} else if i := strings.LastIndexByte(rest, ':'); i > 0 {
		repo, at = rest[:i], rest[i+1:]
	}
	if i := strings.LastIndexByte(repo, ':'); i > 0 { // name:tag@digest
		repo = repo[:i]
	}
	r := &registry{client: c, base: "https://" + host, host: host, repo: repo}
	if local(host) {
		r.base = "http://" + host
	}
	if host == "docker.io" {
		r.base = "https://registry-1.docker.io"
	}
	if r.basic, err = login(docker, host); err != nil {
		return nil, "", err
	}
	m, raw, err := r.manifest(ctx, at)
	if err != nil {
		return nil, "", err
	}
	if want, pinned := strings.CutPrefix(at, "sha256:"); pinned && digest(raw) != want {
		return nil, "", errors.New("the registry answers with another manifest than the digest says")
	}
	code, err = r.module(ctx, m)
	return code, digest(raw), err
}

// local registries are spoken to in plain text, as other tools do.
func local(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// login is what a .dockerconfigjson has for a registry.
func login(docker []byte, host string) (string, error) {
	if docker == nil {
		return "", nil
	}
	var conf struct {
		Auths map[string]struct{ Auth, Username, Password string }
	}
	if err := json.Unmarshal(docker, &conf); err != nil {
		return "", errors.New("the pull secret is no .dockerconfigjson")
	}
	for name, a := range conf.Auths {
		name = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://"), "/")
		if name, _, _ = strings.Cut(name, "/"); name != host && (host != "docker.io" || name != "index.docker.io") {
			continue
		}
		if a.Auth != "" {
			return a.Auth, nil
		}
		return base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password)), nil
	}
	return "", fmt.Errorf("the pull secret has nothing for %s", host)
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
}

type manifest struct {
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

// fetch gets something of the repository, and logs in when it is asked to.
func (r *registry) fetch(ctx context.Context, path string, accept []string) ([]byte, error) {
	from := r.base + "/v2/" + r.repo + path
	resp, err := get(ctx, r.client, from, accept, r.auth)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && r.auth == "" {
		challenge := resp.Header.Get("Www-Authenticate")
		resp.Body.Close()
		if err := r.authorize(ctx, challenge); err != nil {
			return nil, err
		}
		again, err := get(ctx, r.client, from, accept, r.auth)
		if err != nil {
			return nil, err
		}
		return body(again)
	}
	return body(resp)
}

// authorize answers a registry's challenge.
func (r *registry) authorize(ctx context.Context, challenge string) error {
	scheme, rest, _ := strings.Cut(challenge, " ")
	if strings.EqualFold(scheme, "Basic") {
		if r.basic == "" {
			return fmt.Errorf("%s wants credentials: name a pull secret", r.host)
		}
		r.auth = "Basic " + r.basic
		return nil
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return fmt.Errorf("%s wants %q, which is not known", r.host, scheme)
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			params[strings.ToLower(k)] = strings.Trim(v, `"`)
		}
	}
	u, err := url.Parse(params["realm"])
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s names no place where tokens are had", r.host)
	}
	if u.Scheme != "https" && !local(u.Host) {
		return fmt.Errorf("%s would have credentials go out in plain text", r.host)
	}
	q := u.Query()
	q.Set("scope", "repository:"+r.repo+":pull")
	if s := params["service"]; s != "" {
		q.Set("service", s)
	}
	u.RawQuery = q.Encode()
	auth := ""
	if r.basic != "" {
		auth = "Basic " + r.basic
	}
	resp, err := get(ctx, r.client, u.String(), nil, auth)
	if err != nil {
		return err
	}
	raw, err := body(resp)
	if err != nil {
		return err
	}
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(raw, &t); err != nil || t.Token == "" && t.AccessToken == "" {
		return fmt.Errorf("%s answers without a token", u.Host)
	}
	if r.auth = "Bearer " + t.Token; t.Token == "" {
		r.auth = "Bearer " + t.AccessToken
	}
	return nil
}

// manifest gets an image's manifest; of an index the first one's.
func (r *registry) manifest(ctx context.Context, at string) (*manifest, []byte, error) {
	raw, err := r.fetch(ctx, "/manifests/"+at, manifests)
	if err != nil {
		return nil, nil, err
	}
	m := &manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, nil, fmt.Errorf("the manifest cannot be read: %w", err)
	}
	if len(m.Layers) == 0 && len(m.Manifests) > 0 {
		inner, _, err := r.manifest(ctx, m.Manifests[0].Digest)
		return inner, raw, err
	}
	return m, raw, nil
}

// module gets the module out of an image: a layer that is one, or the file plugin.wasm of the last layer.
func (r *registry) module(ctx context.Context, m *manifest) ([]byte, error) {
	if len(m.Layers) == 0 {
		return nil, errors.New("the image has no layers")
	}
	layer := m.Layers[len(m.Layers)-1]
	for _, l := range m.Layers {
		if l.MediaType == wasmLayer || strings.HasSuffix(l.MediaType, "+wasm") {
			layer = l
		}
	}
	b, err := r.fetch(ctx, "/blobs/"+layer.Digest, nil)
	if err != nil {
		return nil, err
	}
	if want, ok := strings.CutPrefix(layer.Digest, "sha256:"); ok && digest(b) != want {
		return nil, errors.New("a layer is not what its digest says")
	}
	if check(b) == nil {
		return b, nil
	}
	return unpack(b)
}

// unpack finds the module in a layer of files.
func unpack(layer []byte) ([]byte, error) {
	var in io.Reader = bytes.NewReader(layer)
	if bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = z
	}
	t := tar.NewReader(io.LimitReader(in, 2*most))
	for {
		h, err := t.Next()
		if err != nil {
			return nil, errors.New("the image has no file plugin.wasm")
		}
		if strings.HasSuffix(h.Name, "plugin.wasm") {
			return io.ReadAll(io.LimitReader(t, most))
		}
	}
}
