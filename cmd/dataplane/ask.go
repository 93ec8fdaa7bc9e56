package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/wire"
)

// request asks the running proxy's API, or, by --debug-port, the agent's: what a kubelet
// runs before it ends a pod.
func request(ctx context.Context, args []string, out io.Writer) error {
	f := flagSet("request")
	port := f.Uint16("debug-port", wire.PortAdmin, "port on loopback")
	if err := f.Parse(args); err != nil {
		return &UsageError{Err: err}
	}
	if f.NArg() != 2 {
		return usage("request: want METHOD PATH")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort("localhost", strconv.Itoa(int(*port))) + "/" + strings.TrimPrefix(f.Arg(1), "/")
	status, body, err := ask(ctx, strings.ToUpper(f.Arg(0)), url)
	if err != nil {
		return err
	}
	if _, err := out.Write(body); err != nil {
		return err
	}
	if status >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: status %d", f.Arg(0), url, status)
	}
	return nil
}

// wait returns when the proxy is ready: programs start after that.
func wait(ctx context.Context, args []string, _ io.Writer) error {
	f := flagSet("wait")
	url := f.String("url", fmt.Sprintf("http://localhost:%d/healthz/ready", wire.PortHealth), "what answers with 200 when the proxy is ready")
	timeout := f.Int("timeoutSeconds", int(waitTimeout/time.Second), "how long to wait")
	period := f.Int("periodMillis", int(waitPeriod/time.Millisecond), "time between two questions")
	_ = f.Int("requestTimeoutMillis", 0, "pilot-agent's, without effect")
	if err := f.Parse(args); err != nil {
		return &UsageError{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*timeout)*time.Second)
	defer cancel()
	last := errors.New("nobody answers")
	for {
		status, _, err := ask(ctx, http.MethodGet, *url)
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err != nil && ctx.Err() == nil:
			last = err
		case err == nil:
			last = fmt.Errorf("status %d", status)
		}
		t := time.NewTimer(time.Duration(*period) * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the proxy is not ready after %d s: %s: %w", *timeout, *url, last)
		}
	}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

func ask(ctx context.Context, method, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}
