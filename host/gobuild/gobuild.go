// Package gobuild turns `go run PACKAGE ARGS` into a program that is built once
// and shared by all its replicas.
//
// `go run` puts a process between the supervisor and the program, builds for
// every replica anew, and needs the network of the place where it runs; so the
// supervisor builds outside, and runs what it built. Commands that it does not
// understand completely it leaves alone.
package gobuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Run is a `go run` that was understood.
type Run struct {
	Dir   string   // where it is run
	Flags []string // build flags
	// Packages is one package, or Go files.
	Packages []string
	Args     []string // of the program
}

// Parse recognises `go run [build flags] package [args]`. ok is false for
// everything else, also for what `go build` cannot do (pkg@version, -exec).
func Parse(dir string, argv []string) (r Run, ok bool) {
	if len(argv) < 3 || filepath.Base(argv[0]) != "go" || argv[1] != "run" {
		return Run{}, false
	}
	r.Dir = dir
	rest := argv[2:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		name, _, has := strings.Cut(strings.TrimLeft(rest[0], "-"), "=")
		switch {
		case has || boolean(name):
			r.Flags = append(r.Flags, rest[0])
			rest = rest[1:]
		case withValue(name) && len(rest) > 1:
			r.Flags = append(r.Flags, rest[0], rest[1])
			rest = rest[2:]
		default:
			return Run{}, false
		}
		if name == "exec" || name == "n" || name == "C" {
			return Run{}, false
		}
	}
	for len(rest) > 0 && strings.HasSuffix(rest[0], ".go") {
		r.Packages = append(r.Packages, rest[0])
		rest = rest[1:]
	}
	if len(r.Packages) == 0 {
		if len(rest) == 0 || strings.Contains(rest[0], "@") || strings.Contains(rest[0], "...") {
			return Run{}, false
		}
		r.Packages, rest = rest[:1], rest[1:]
	}
	r.Args = rest
	return r, true
}

func boolean(name string) bool {
	switch name {
	case "a", "race", "msan", "asan", "cover", "v", "x", "work", "linkshared", "trimpath", "modcacherw", "buildvcs", "n":
		return true
	}
	return false
}

func withValue(name string) bool {
	switch name {
	case "p", "covermode", "coverpkg", "asmflags", "buildmode", "compiler", "gccgoflags", "gcflags", "installsuffix",
		"ldflags", "mod", "modfile", "overlay", "pgo", "pkgdir", "tags", "toolexec":
		return true
	}
	return false
}

// Builder builds into a directory. It is safe for concurrent use.
type Builder struct {
	dir string

	// slots bounds how many compilers run; the first has all of them, since what
	// programs have in common would otherwise be compiled by each.
	slots chan struct{}
	first sync.Once

	mu     sync.Mutex
	builds map[string]*build
}

// New makes a builder that keeps what it builds in dir, which it makes.
func New(dir string) *Builder {
	return &Builder{dir: dir, builds: map[string]*build{}, slots: make(chan struct{}, max(1, runtime.NumCPU()))}
}

// build is one call of `go build` that callers share.
type build struct {
	done   chan struct{}
	path   string
	output string
	err    error
	at     time.Time
}

// fresh is how long a build is good for others who ask for the same: replicas
// that start together, not a restart after the source was changed.
const fresh = 2 * time.Second

// Error is a build that failed; Output is what the compiler said.
type Error struct {
	Output string
	Err    error
}

// Error returns the first lines that the compiler said.
func (e *Error) Error() string {
	lines := strings.Split(strings.TrimSpace(e.Output), "\n")
	if len(lines) > 6 {
		lines = append(lines[:6], "…")
	}
	return "go build: " + e.Err.Error() + ": " + strings.Join(lines, "; ")
}

// Unwrap returns the error of running the compiler.
func (e *Error) Unwrap() error { return e.Err }

// Build builds the program and returns its path. out gets what the compiler
// says. Calls for the same program share a build; one that another's ctx ended
// is done again.
func (b *Builder) Build(ctx context.Context, r Run, out io.Writer) (string, error) {
	key := r.key()
	for {
		b.mu.Lock()
		cur := b.builds[key]
		if cur == nil || cur.stale() {
			cur = &build{done: make(chan struct{})}
			b.builds[key] = cur
			b.mu.Unlock()
			cur.path, cur.output, cur.err = b.inTurn(ctx, r, key)
			cur.at = time.Now()
			close(cur.done)
		} else {
			b.mu.Unlock()
		}
		select {
		case <-cur.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		if cur.err != nil && errors.Is(cur.err, context.Canceled) && ctx.Err() == nil {
			b.forget(key, cur)
			continue
		}
		if cur.output != "" {
			_, _ = io.WriteString(out, cur.output)
		}
		return cur.path, cur.err
	}
}

// inTurn compiles when there is a slot. Until the first program has been built,
// there is none for others.
func (b *Builder) inTurn(ctx context.Context, r Run, key string) (path, output string, err error) {
	alone := false
	b.first.Do(func() {
		alone = true
		path, output, err = b.compile(ctx, r, key)
	})
	if alone {
		return path, output, err
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return "", "", context.Cause(ctx)
	}
	return b.compile(ctx, r, key)
}

func (b *build) stale() bool {
	select {
	case <-b.done:
		return time.Since(b.at) > fresh
	default:
		return false
	}
}

func (b *Builder) forget(key string, old *build) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.builds[key] == old {
		delete(b.builds, key)
	}
}

func (r Run) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q", r.Dir, r.Flags, r.Packages)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// name is what the program is called in a list of processes.
func (r Run) name() string {
	p := r.Packages[0]
	if p == "." || strings.HasSuffix(p, "..") {
		if abs, err := filepath.Abs(filepath.Join(r.Dir, p)); err == nil {
			p = abs
		}
	}
	return strings.TrimSuffix(filepath.Base(p), ".go")
}

func (b *Builder) compile(ctx context.Context, r Run, key string) (path, output string, err error) {
	dir := filepath.Join(b.dir, key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("go build: %w", err)
	}
	path = filepath.Join(dir, r.name())
	// `go build` would link anew for every run directory, seven seconds for a
	// small mesh. `go run` finds the program in Go's own cache (since 1.24), so
	// it runs, on what it built, a program that brings it here.
	fresh := path + ".new"
	argv := append([]string{"run", "-exec", "cp"}, r.Flags...)
	argv = append(argv, r.Packages...)
	argv = append(argv, fresh)
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Dir = r.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // compilers too
	cmd.WaitDelay = 2 * time.Second
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		return "", buf.String(), &Error{Output: buf.String(), Err: err}
	}
	if err := os.Rename(fresh, path); err != nil { // the old one may be running
		return "", buf.String(), fmt.Errorf("go build: %w", err)
	}
	return path, buf.String(), nil
}
