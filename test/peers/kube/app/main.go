// Command app is what the pods of test clusters run: a server that says who it is, a client,
// or nothing at all.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if strings.HasSuffix(args[0], "pause") || len(args) == 1 {
		return pause(ctx)
	}
	switch rest := args[2:]; args[1] {
	case "sleep":
		return pause(ctx)
	case "serve": // serve ADDRESS [NAME]
		return serve(ctx, rest)
	case "get": // get URL [HEADER: VALUE]…
		return get(ctx, rest)
	case "lookup": // lookup HOST
		a, err := net.DefaultResolver.LookupHost(ctx, rest[0])
		fmt.Println(a)
		return err
	}
	return fmt.Errorf("%q: want sleep, serve, get or lookup", args[1])
}

// pause ends with ctx; as process 1 of a pod it reaps the others.
func pause(ctx context.Context) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-children:
			for {
				if p, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); p <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// serve answers each request with who answers, and with the request's headers.
func serve(ctx context.Context, args []string) error {
	name, _ := os.Hostname()
	if len(args) > 1 {
		name = args[1]
	}
	s := &http.Server{Addr: args[0], ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s\n", name, r.Host)
		_ = r.Header.Write(w)
	})}
	stop := context.AfterFunc(ctx, func() { _ = s.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	fmt.Println("listening on", args[0])
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func get(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	for _, h := range args[1:] {
		k, v, _ := strings.Cut(h, ":")
		r.Header.Set(k, strings.TrimSpace(v))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%d %s", resp.StatusCode, body)
	return err
}
