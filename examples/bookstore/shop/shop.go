// Package shop is what the bookstore's programs share: an HTTP server that
// ends in order, a client that passes trace headers on, and environment
// variables with defaults. The programs know nothing of a mesh.
package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Env returns an environment variable, or a default.
func Env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// traceHeaders are what a program must pass on for its requests to be seen as
// one: W3C, B3, and the mesh's request id. The last two are for routing by user.
var traceHeaders = []string{
	"traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
	"x-request-id", "end-user", "x-variant",
}

// TraceHeaders returns the headers of a request that its children should carry.
func TraceHeaders(in http.Header) http.Header {
	out := http.Header{}
	for _, name := range traceHeaders {
		if v := in.Values(name); len(v) > 0 {
			out[http.CanonicalHeaderKey(name)] = v
		}
	}
	return out
}

// StatusError is an answer that was not 200.
type StatusError struct {
	URL    string
	Status int
	Body   string
}

// Error returns "URL: status: body".
func (e *StatusError) Error() string { return fmt.Sprintf("%s: %d: %s", e.URL, e.Status, e.Body) }

// GetJSON fetches a URL on behalf of an incoming request (its headers may be nil).
func GetJSON(ctx context.Context, in http.Header, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header = TraceHeaders(in)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &StatusError{url, resp.StatusCode, string(body)}
	}
	return json.Unmarshal(body, v)
}

// JSON answers with a value.
func JSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// Serve runs an HTTP server on $PORT (or the default) until SIGTERM, then lets
// requests in flight finish. It answers /healthz itself.
func Serve(name, port string, mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l := Listen(name, port)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(end)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalf("%s: %v", name, err)
	}
	<-done
}

// Listen listens on $PORT, or the default, of all addresses.
func Listen(name, port string) net.Listener {
	addr := net.JoinHostPort("", Env("PORT", port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	log.Printf("%s %s listens on %s", name, Env("VERSION", "v1"), l.Addr())
	return l
}
