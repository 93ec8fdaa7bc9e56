// Package health asks a program whether it is well, for an agent that tells a control
// plane: Istio's readinessProbe of a proxy's configuration, as a WorkloadGroup has it.
//
// A Probe is asked again and again until its context ends; who listens is told when the
// answer is another than before, the first one included, and not each time. Kubernetes'
// thresholds count in a row. It decides nothing about what follows.
//
// An App asks when it is asked: the kubelet's probes of programs beside a proxy.
package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Probe is a way to ask. Exactly one of HTTP, TCP, GRPC and Exec is set.
type Probe struct {
	HTTP *HTTP
	// TCP is an address that has to take connections.
	TCP string
	// GRPC has to answer by grpc.health.v1 that it serves.
	GRPC *GRPC
	// Exec is a command that has to exit with 0.
	Exec []string
	// Delay comes before the first try, Period between tries; Timeout is of one.
	Delay, Period, Timeout time.Duration
	// Success and Failure are how many in a row make the program well, or not.
	Success, Failure int
}

// HTTP is a request that has to be answered with a status from 200 to 399.
type HTTP struct {
	URL string
	// Host is the header's; "": the URL's.
	Host   string
	Header http.Header
}

// GRPC is a server in plain text, and the service that is asked for; "": the whole.
type GRPC struct {
	Address, Service string
	// dial connects; nil: as usual.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Kubernetes' defaults, which are Istio's.
const (
	defaultPeriod  = 10 * time.Second
	defaultTimeout = time.Second
	defaultFailure = 3
)

// config is a probe as Istio's ProxyConfig has it.
type config struct {
	HTTPGet *struct {
		Host, Path, Scheme string
		Port               uint16
		HTTPHeaders        []struct{ Name, Value string } `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Host string
		Port uint16
	} `json:"tcpSocket"`
	GRPC *struct {
		Port    uint16
		Service string
	} `json:"grpc"`
	Exec *struct{ Command []string } `json:"exec"`

	InitialDelaySeconds, TimeoutSeconds, PeriodSeconds int32
	SuccessThreshold, FailureThreshold                 int32
}

// Read reads a probe as Istio's ProxyConfig has it, in JSON. An error names the field.
func Read(raw []byte) (*Probe, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var c config
	if err := dec.Decode(&c); err != nil {
		return nil, err
	}
	p := &Probe{
		Delay: seconds(c.InitialDelaySeconds, 0), Period: seconds(c.PeriodSeconds, defaultPeriod), Timeout: seconds(c.TimeoutSeconds, defaultTimeout),
		Success: max(1, int(c.SuccessThreshold)), Failure: int(c.FailureThreshold),
	}
	if p.Failure <= 0 {
		p.Failure = defaultFailure
	}
	n := 0
	if g := c.HTTPGet; g != nil {
		n++
		if g.Port == 0 {
			return nil, errors.New("httpGet.port: write a port")
		}
		scheme := strings.ToLower(g.Scheme)
		switch scheme {
		case "":
			scheme = "http"
		case "http", "https":
		default:
			return nil, fmt.Errorf("httpGet.scheme: %q: want HTTP or HTTPS", g.Scheme)
		}
		p.HTTP = &HTTP{URL: scheme + "://" + at(g.Host, g.Port) + "/" + strings.TrimPrefix(g.Path, "/"), Header: http.Header{}}
		for _, h := range g.HTTPHeaders {
			if strings.EqualFold(h.Name, "Host") {
				p.HTTP.Host = h.Value
				continue
			}
			p.HTTP.Header.Add(h.Name, h.Value)
		}
	}
	if s := c.TCPSocket; s != nil {
		n++
		if s.Port == 0 {
			return nil, errors.New("tcpSocket.port: write a port")
		}
		p.TCP = at(s.Host, s.Port)
	}
	if g := c.GRPC; g != nil {
		n++
		if g.Port == 0 {
			return nil, errors.New("grpc.port: write a port")
		}
		p.GRPC = &GRPC{Address: at("", g.Port), Service: g.Service}
	}
	if c.Exec != nil {
		n++
		if p.Exec = c.Exec.Command; len(p.Exec) == 0 {
			return nil, errors.New("exec.command: write a command")
		}
	}
	if n != 1 {
		return nil, errors.New("want one of httpGet, tcpSocket, grpc and exec")
	}
	return p, nil
}

func seconds(n int32, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// at is an address of this machine, unless a host is given.
func at(host string, port uint16) string {
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// Run asks until ctx ends. say is told of each change: what is wrong, or "".
func (p *Probe) Run(ctx context.Context, say func(failure string)) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // as Kubernetes: it asks whether it answers, not who
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	known, well := false, false
	inRow := 0
	for wait := p.Delay; ; wait = p.Period {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		err := p.ask(ctx, client)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case known && well == (err == nil):
			inRow = 0
			continue
		}
		need := p.Success
		if err != nil {
			need = p.Failure
		}
		if inRow++; inRow < need {
			continue
		}
		known, well, inRow = true, err == nil, 0
		if err != nil {
			say(err.Error())
		} else {
			say("")
		}
	}
}

// ask asks once.
func (p *Probe) ask(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	switch {
	case p.HTTP != nil:
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.HTTP.URL, nil)
		if err != nil {
			return err
		}
		req.Header, req.Host = p.HTTP.Header.Clone(), p.HTTP.Host
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return fmt.Errorf("GET %s: status %d", p.HTTP.URL, resp.StatusCode)
		}
		return nil
	case p.TCP != "":
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", p.TCP)
		if err != nil {
			return err
		}
		return c.Close()
	case p.GRPC != nil:
		return p.GRPC.ask(ctx)
	}
	out, err := exec.CommandContext(ctx, p.Exec[0], p.Exec[1:]...).CombinedOutput() //nolint:gosec // what the configuration says
	if err != nil {
		const most = 200
		return fmt.Errorf("%s: %w: %s", p.Exec[0], err, bytes.TrimSpace(out[:min(len(out), most)]))
	}
	return nil
}

// ask asks once, on a connection of its own.
func (g *GRPC) ask(ctx context.Context) error {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("weft-probe")}
	if g.dial != nil {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return g.dial(ctx, "tcp", address) }))
	}
	conn, err := grpc.NewClient("passthrough:///"+g.Address, options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: g.Service})
	if err != nil {
		return fmt.Errorf("grpc.health.v1 at %s: %w", g.Address, err)
	}
	if s := resp.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc.health.v1 at %s: service %q is %s", g.Address, g.Service, s)
	}
	return nil
}
