package istiod

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/host/hub"
)

// The test binary is also the hub, and the programs in the mesh.
func TestMain(m *testing.M) {
	if hub.Called(os.Args) {
		os.Exit(hub.Main())
	}
	if len(os.Args) > 2 && os.Args[1] == "program" {
		if err := program(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is what runs in a workload's namespace.
func program(what string, args []string) error {
	switch what {
	case "serve":
		return serve()
	case "keys": // FILE: what the certificate authority checks tokens with
		return http.ListenAndServe(":8181", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			http.ServeFile(w, r, args[0])
		}))
	case "get": // URL [HEADER=VALUE …]
		return get(args[0], args[1:])
	case "tcp": // ADDRESS TEXT
		return echo(args[0], args[1])
	}
	return fmt.Errorf("program %q is not known", what)
}

// seen is what the server tells of a request.
type seen struct {
	Host, Path string
	Header     http.Header
}

// serve answers HTTP on 8080 with what it has seen, and TCP on 9000 with what came.
func serve() error {
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				_, _ = io.Copy(nc, nc)
			}()
		}
	}()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Server", host)
		_ = json.NewEncoder(w).Encode(seen{r.Host, r.URL.Path, r.Header})
	}))
}

// answer is what a client tells of a response.
type answer struct {
	Status int
	Header http.Header
	Body   string
	// Certificate is the name in the server's.
	Certificate string
}

func get(url string, headers []string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	secure := &tls.Config{InsecureSkipVerify: true} // what is shown is looked at in the answer
	for _, h := range headers {
		k, v, _ := strings.Cut(h, "=")
		switch k {
		case "Host":
			r.Host, secure.ServerName = v, v
		case "Certificate": // a folder
			cert, err := tls.LoadX509KeyPair(filepath.Join(v, "cert-chain.pem"), filepath.Join(v, "key.pem"))
			if err != nil {
				return err
			}
			secure.Certificates = []tls.Certificate{cert}
		default:
			r.Header.Add(k, v)
		}
	}
	c := &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: secure},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header, Body: string(b)}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates[0].URIs) > 0 {
		a.Certificate = resp.TLS.PeerCertificates[0].URIs[0].String()
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}

func echo(address, text string) error {
	nc, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := nc.Write([]byte(text)); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(nc, b); err != nil {
		return err
	}
	if !bytes.Equal(b, []byte(text)) {
		return fmt.Errorf("got %q", b)
	}
	return json.NewEncoder(os.Stdout).Encode(answer{Body: string(b)})
}
