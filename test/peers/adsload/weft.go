package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// weftMain generates a configuration, runs Weft's control plane on it, and run
// against that: everything that a measurement needs, in one command. What it does
// not know it hands to run.
func weftMain(ctx context.Context, args []string) error {
	l := loadFlags(flag.NewFlagSet("weft", flag.ContinueOnError))
	fs := flag.NewFlagSet("weft", flag.ContinueOnError)
	bin := fs.String("bin", "bin/weft", "the binary")
	fs.IntVar(&l.shape.S, "s", 1000, "number of services")
	fs.IntVar(&l.shape.E, "e", 10, "endpoints per service")
	fs.IntVar(&l.n, "n", 100, "streams")
	fs.IntVar(&l.rounds, "rounds", 100, "changes to make")
	fs.StringVar(&l.proto, "proto", "delta", "sotw or delta")
	fs.IntVar(&l.use, "use", 0, "services that each proxy asks for, on demand; 0: proxies are not on demand")
	if err := fs.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "adsload")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "conf")
	s, e := strconv.Itoa(l.shape.S), strconv.Itoa(l.shape.E)
	if err := genMain(ctx, []string{"-s", s, "-e", e, "-dir", conf}); err != nil {
		return err
	}
	xds, monitoring, err := ports()
	if err != nil {
		return err
	}
	mode := "eager"
	if l.use > 0 {
		mode = "on-demand"
	}
	c := exec.CommandContext(ctx, *bin, "control", "--config-mode", mode, "--config", conf, "--xds-plaintext", xds, "--monitoring", monitoring,
		"--console-socket", filepath.Join(dir, "console"), "--state-dir", filepath.Join(dir, "state"), "--log-level", "warn")
	c.Stderr = os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Start(); err != nil {
		return err
	}
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}()
	if err := ready(ctx, "http://"+monitoring+"/ready"); err != nil {
		return err
	}
	run := []string{
		"-addr", xds, "-dir", conf, "-pid", strconv.Itoa(c.Process.Pid), "-s", s, "-e", e, "-n", strconv.Itoa(l.n),
		"-rounds", strconv.Itoa(l.rounds), "-use", strconv.Itoa(l.use), "-proto", l.proto, "-settle", "500ms",
	}
	return runMain(ctx, append(run, fs.Args()...))
}

// ports are two addresses of this machine that are free.
func ports() (a, b string, err error) {
	var out [2]string
	for i := range out {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		out[i] = l.Addr().String()
	}
	return out[0], out[1], nil
}

// ready waits until the control plane says that it has a configuration.
func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the control plane is not ready: %s", url), err)
		}
	}
}
