// Package nacos follows the services of Nacos: of version 2 and later over gRPC, where instances are pushed, of version 1, or
// where the user asks for it, over HTTP by polling. The list of services is asked for every model.Registry.Refresh in
// both.
//
// Instances that are not healthy or not enabled, or have no weight, take no traffic. Services that Dubbo has registered by interface are known as such.
package nacos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/registry"
	"github.com/weftmesh/weft/control/source/registry/dubbo"
)

const (
	patience   = 10 * time.Second
	usualGroup = "DEFAULT_GROUP"
	usualPort  = "8848"
	usualPath  = "/nacos"
	page       = 500
)

// Client follows one cluster of servers, one of them at a time.
type Client struct {
	spec   *model.Registry
	groups []string
	bases  []*url.URL
	next   int
	client *http.Client
	tls    *tls.Config // nil: the usual one, where an address is https://
	log    *slog.Logger
}

// New is a registry.Maker.
func New(r *model.Registry, log *slog.Logger) (registry.Client, error) {
	t, err := registry.Transport(r)
	if err != nil {
		return nil, err
	}
	c := &Client{spec: r, groups: r.Groups, next: -1, log: log, client: &http.Client{Timeout: patience, Transport: t}, tls: t.TLSClientConfig}
	if len(c.groups) == 0 {
		c.groups = []string{usualGroup}
	}
	for _, a := range r.Addresses {
		u, err := url.Parse(strings.TrimSuffix(a, "/"))
		if err != nil {
			return nil, err
		}
		if u.Port() == "" {
			u.Host += ":" + usualPort
		}
		if u.Path == "" {
			u.Path = usualPath
		}
		c.bases = append(c.bases, u)
	}
	return c, nil
}

// Follow implements registry.Client. Each time it asks the next of the addresses.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	defer c.client.CloseIdleConnections()
	c.next = (c.next + 1) % len(c.bases)
	token, err := c.login(ctx)
	if err != nil {
		return err
	}
	if !c.spec.Polling {
		err := c.push(ctx, to, token)
		if !errors.Is(err, errNoGRPC) {
			return err
		}
		c.log.Info("the server has no gRPC, polling it", "error", err)
	}
	return c.poll(ctx, to, token)
}

// service makes a service of what Nacos says.
func (c *Client) service(group, name string, info *serviceInfo) registry.Service {
	s := registry.Service{Name: group + "@@" + name, Host: name}
	if id, ok := dubboName(name); ok {
		s.Dubbo = &id
	}
	for _, h := range info.Hosts {
		in := registry.Instance{Address: h.IP, Labels: map[string]string{}, Off: !h.Healthy || !h.Enabled || h.Weight <= 0}
		if h.Port > 0 && h.Port < 1<<16 {
			in.Port = uint16(h.Port)
		}
		in.Weight = uint32(min(max(h.Weight, 0.01), 10000) * registry.UsualWeight)
		maps.Copy(in.Labels, h.Metadata)
		in.Labels["nacosGroup"] = group
		if c.spec.Scope != "" {
			in.Labels["nacosNamespace"] = c.spec.Scope
		}
		if h.ClusterName != "" {
			in.Labels["cluster"] = h.ClusterName
		}
		if s.Dubbo != nil {
			in.Protocol = dubbo.Protocol(h.Metadata["protocol"])
			for _, k := range []string{"methods", "pid", "timestamp", "dubbo"} {
				delete(in.Labels, k)
			}
		} else {
			in.Protocol, _ = document.Protocol(h.Metadata["protocol"])
		}
		s.Instances = append(s.Instances, in)
	}
	return s
}

// dubboName reads "providers:INTERFACE:VERSION:GROUP".
func dubboName(name string) (registry.Dubbo, bool) {
	p := strings.Split(name, ":")
	if len(p) < 2 || p[0] != "providers" || p[1] == "" {
		return registry.Dubbo{}, false
	}
	p = append(p, "", "")
	return registry.Dubbo{Interface: p[1], Version: p[2], Group: p[3]}, true
}

// wanted leaves out what is no service: Dubbo's consumers, and the like.
func wanted(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool {
		return strings.HasPrefix(n, "consumers:") || strings.HasPrefix(n, "configurators:") || strings.HasPrefix(n, "routers:")
	})
}

// login proves who asks; without a user there is nothing to prove.
func (c *Client) login(ctx context.Context) (string, error) {
	if c.spec.Username == "" {
		return "", nil
	}
	var got struct {
		AccessToken string `json:"accessToken"`
	}
	form := url.Values{"username": {c.spec.Username}, "password": {string(c.spec.Password)}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.bases[c.next].JoinPath("v1/auth/login").String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := c.do(r, &got); err != nil {
		return "", err
	}
	if got.AccessToken == "" {
		return "", fmt.Errorf("%s: no token in the answer", r.URL.Redacted())
	}
	return got.AccessToken, nil
}
