package health

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// App asks the programs of a pod in the kubelet's place, whose own probes would be
// redirected to the proxy: it answers at the paths that an injector wrote into their
// probes and lifecycle handlers what the program answers.
type App struct {
	questions map[string]*question
	client    *http.Client
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	host      string
}

// question is how one program is asked, in Kubernetes' words; exactly one way is set.
type question struct {
	HTTPGet *struct {
		Host, Path, Scheme string
		Port               json.Number
		HTTPHeaders        []struct{ Name, Value string } `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Host string
		Port json.Number
	} `json:"tcpSocket"`
	GRPC *struct {
		Port    json.Number
		Service string
	} `json:"grpc"`
	TimeoutSeconds int32
}

// Bounds of what programs answer.
const (
	maxAnswer    = 10 << 10
	maxRedirects = 10
	mostPatience = 5 * time.Minute
)

// ReadApp reads the JSON that an injector has written (Istio's ISTIO_KUBE_APP_PROBERS): an
// object of paths. host is the pod's address, at which programs are asked. An error names the path.
func ReadApp(text, host string) (*App, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	a := &App{host: host}
	if err := dec.Decode(&a.questions); err != nil {
		return nil, err
	}
	for path, q := range a.questions {
		if err := q.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	a.dial = pastRedirection
	a.client = &http.Client{
		Transport: &http.Transport{
			DialContext: a.dial, DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the kubelet: it asks whether it answers, not who
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects || next.URL.Host != via[0].URL.Host {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	return a, nil
}

func (q *question) check() error {
	if q == nil {
		return errors.New("is empty")
	}
	var ports []json.Number
	if q.HTTPGet != nil {
		ports = append(ports, q.HTTPGet.Port)
	}
	if q.TCPSocket != nil {
		ports = append(ports, q.TCPSocket.Port)
	}
	if q.GRPC != nil {
		ports = append(ports, q.GRPC.Port)
	}
	if len(ports) != 1 {
		return errors.New("want one of httpGet, tcpSocket and grpc")
	}
	if n, err := strconv.ParseUint(string(ports[0]), 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is no port", ports[0])
	}
	return nil
}

// inbound4 and inbound6 are source addresses that redirection leaves alone (Istio's).
var inbound4, inbound6 = netip.AddrFrom4([4]byte{127, 0, 0, 6}), netip.AddrFrom16([16]byte{15: 6})

// pastRedirection connects to a program of this machine. What the proxy's user sends
// to the pod's own address is led to the proxy otherwise.
func pastRedirection(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	var d net.Dialer
	if err == nil && !to.Addr().IsLoopback() {
		from := inbound6
		if to.Addr().Unmap().Is4() {
			from = inbound4
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	c, err := d.DialContext(ctx, network, address)
	if d.LocalAddr != nil && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EINVAL)) {
		d.LocalAddr = nil // it is another machine's, or that family is not set up
		return d.DialContext(ctx, network, address)
	}
	return c, err
}

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := a.questions[r.URL.Path]
	if q == nil {
		http.Error(w, "no program is asked at this path", http.StatusNotFound)
		return
	}
	patience := mostPatience
	if q.TimeoutSeconds > 0 {
		patience = time.Duration(q.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	switch {
	case q.HTTPGet != nil:
		a.get(ctx, w, r, q)
	case q.TCPSocket != nil:
		c, err := a.dial(ctx, "tcp", a.at(q.TCPSocket.Host, q.TCPSocket.Port))
		if err == nil {
			_ = c.Close()
		}
		answer(w, err)
	default:
		g := GRPC{Address: a.at("", q.GRPC.Port), Service: q.GRPC.Service, dial: a.dial}
		answer(w, g.ask(ctx))
	}
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (a *App) at(host string, port json.Number) string {
	return net.JoinHostPort(cmp.Or(host, a.host, "127.0.0.1"), string(port))
}

// get passes the program's answer on.
func (a *App) get(ctx context.Context, w http.ResponseWriter, r *http.Request, q *question) {
	g := q.HTTPGet
	url := cmp.Or(strings.ToLower(g.Scheme), "http") + "://" + a.at(g.Host, g.Port) + "/" + strings.TrimPrefix(g.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		answer(w, err)
		return
	}
	for name, values := range r.Header {
		if name != "Connection" && name != "Accept-Encoding" {
			req.Header[name] = values
		}
	}
	for _, h := range g.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		answer(w, err)
		return
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, _ = io.Copy(&body, io.LimitReader(resp.Body, maxAnswer)) // the status is what counts
	status := resp.StatusCode
	if status >= http.StatusMultipleChoices && status < http.StatusBadRequest {
		// That is well, and would send the kubelet elsewhere.
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}
