package nacos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/source/registry"
)

const largest = 16 << 20

// poll asks for everything, again and again, over the HTTP API of version 1.
func (c *Client) poll(ctx context.Context, to registry.Sink, token string) error {
	ticker := time.NewTicker(c.spec.Refresh)
	defer ticker.Stop()
	for {
		var all []string
		for _, group := range c.groups {
			names, err := c.listed(ctx, group, token)
			if err != nil {
				return err
			}
			for _, name := range names {
				var info serviceInfo
				q := url.Values{"serviceName": {group + "@@" + name}, "namespaceId": {c.spec.Scope}}
				if err := c.get(ctx, "v1/ns/instance/list", q, token, &info); err != nil {
					return err
				}
				s := c.service(group, name, &info)
				to.Service(s)
				all = append(all, s.Name)
			}
		}
		to.Complete(all)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listed are the services of a group.
func (c *Client) listed(ctx context.Context, group, token string) ([]string, error) {
	var out []string
	for n := 1; ; n++ {
		var got struct {
			Count int      `json:"count"`
			Doms  []string `json:"doms"`
		}
		q := url.Values{"pageNo": {strconv.Itoa(n)}, "pageSize": {strconv.Itoa(page)}, "groupName": {group}, "namespaceId": {c.spec.Scope}}
		if err := c.get(ctx, "v1/ns/service/list", q, token, &got); err != nil {
			return nil, err
		}
		out = append(out, got.Doms...)
		if len(got.Doms) == 0 || len(out) >= got.Count {
			return wanted(out), nil
		}
	}
}

func (c *Client) get(ctx context.Context, path string, q url.Values, token string, into any) error {
	if token != "" {
		q.Set("accessToken", token)
	}
	if c.spec.Scope == "" {
		q.Del("namespaceId")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.bases[c.next].JoinPath(path).String()+"?"+q.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	return c.do(r, into)
}

func (c *Client) do(r *http.Request, into any) error {
	a, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, largest))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", r.URL.Path, a.Status, strings.TrimSpace(string(body)))
	}
	return json.Unmarshal(body, into)
}
