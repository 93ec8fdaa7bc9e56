package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Post sends to a collector that speaks HTTP.
type Post struct {
	// URL as the collector sees it; Dial connects, whatever the URL's host is.
	URL, ContentType string
	Dial             func(ctx context.Context) (net.Conn, error)
	// Timeout of one batch.
	Timeout time.Duration
	Header  [][2]string

	client http.Client
}

// Open makes the Post ready.
func (p *Post) Open() {
	p.client.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx) },
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
	}
}

// Close closes idle connections.
func (p *Post) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// Send posts a body; any status of the class 2 is a success.
func (p *Post) Send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", p.ContentType)
	for _, h := range p.Header {
		req.Header.Add(h[0], h[1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", resp.Status)
	}
	return nil
}
