// Package cli is the command line of a running mesh: it talks to the control
// plane and the supervisor over their sockets, and prints.
//
// Every table is also to be had as JSON and YAML (-o). Exit codes are for
// scripts; see Code. Nothing here starts or configures a mesh.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/wire"
)

// Exit codes.
const (
	CodeFailed     = 1 // the command ran and failed
	CodeUsage      = 2 // wrong flags or arguments
	CodeNoMesh     = 3 // no mesh is running, or not the one asked for
	CodeInvalid    = 4 // an object was refused
	CodeNotHealthy = 5 // status: something is not ready or not in sync
	CodeFindings   = 6 // analyze: a finding as bad as --failure-threshold, or worse
)

// Error is an error with an exit code.
type Error struct {
	Code int
	Err  error
}

// Error returns the message.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the exit code for what a command returned.
func Code(err error) int {
	var coded *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.Code
	}
	return CodeFailed
}

func fail(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// RunDirs finds the run directories of the meshes that this user may run.
type RunDirs interface {
	// Dir returns the run directory of the mesh with that name.
	Dir(name string) string
	// List returns the names of all that exist.
	List() []string
}

// Env is what the commands share.
type Env struct {
	Runs RunDirs
	// mesh is --mesh, output -o.
	mesh, output string
}

// Commands returns the commands, to be added to the root command.
func (e *Env) Commands() []*cobra.Command {
	return []*cobra.Command{
		e.applyCommand(), e.getCommand(), e.deleteCommand(), e.statusCommand(), e.configCommand(),
		e.logsCommand(), e.graphCommand(), e.taxCommand(), e.upgradeCommand(), e.tokenCommand(), e.downCommand(),
	}
}

// meshFlag adds --mesh to a command.
func (e *Env) meshFlag(c *cobra.Command) {
	c.Flags().StringVar(&e.mesh, "mesh", "", "name of the mesh (default: the only one that runs; the name is the folder's)")
	_ = c.RegisterFlagCompletionFunc("mesh", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return e.running(), cobra.ShellCompDirectiveNoFileComp
	})
}

// outputFlag adds -o.
func (e *Env) outputFlag(c *cobra.Command) {
	c.Flags().StringVarP(&e.output, "output", "o", "table", "output: table, json or yaml")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// running returns the names of the meshes whose supervisor answers.
func (e *Env) running() []string {
	var out []string
	for _, name := range e.Runs.List() {
		c, err := net.Dial("unix", filepath.Join(e.Runs.Dir(name), wire.SupervisorSocket))
		if err == nil {
			c.Close()
			out = append(out, name)
		}
	}
	return out
}

// dir returns the run directory of the mesh that is meant.
func (e *Env) dir() (string, error) {
	if e.mesh != "" {
		return e.Runs.Dir(e.mesh), nil
	}
	switch names := e.running(); len(names) {
	case 1:
		return e.Runs.Dir(names[0]), nil
	case 0:
		return "", fail(CodeNoMesh, "no mesh is running: start one with `weft up DIR`")
	default:
		return "", fail(CodeUsage, "several meshes are running (%s): choose one with --mesh", strings.Join(names, ", "))
	}
}

// socket is a JSON API on a unix socket.
type socket struct {
	path string
	http *http.Client
}

func (e *Env) console() (*socket, error)    { return e.open(wire.ConsoleSocket) }
func (e *Env) supervisor() (*socket, error) { return e.open(wire.SupervisorSocket) }

func (e *Env) open(file string) (*socket, error) {
	dir, err := e.dir()
	if err != nil {
		return nil, err
	}
	return dialUnix(filepath.Join(dir, file)), nil
}

func dialUnix(path string) *socket {
	return &socket{path, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// do sends a request and returns the response's body when the status is 200.
func (s *socket) do(ctx context.Context, method, path string, q url.Values, body io.Reader) (io.ReadCloser, error) {
	u := "http://weft" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	resp, err := s.http.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fail(CodeNoMesh, "nothing answers on %s: the mesh is not running, or is just starting", s.path)
	case errors.Is(err, os.ErrPermission):
		return nil, fail(CodeNoMesh, "%s may only be opened by the user who started the mesh", s.path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		var e struct{ Error string }
		if json.NewDecoder(resp.Body).Decode(&e) != nil || e.Error == "" {
			e.Error = resp.Status
		}
		if resp.StatusCode == http.StatusNotFound {
			return nil, fail(CodeInvalid, "%s", e.Error)
		}
		return nil, errors.New(e.Error)
	}
	return resp.Body, nil
}

// get decodes the JSON at path into v.
func (s *socket) get(ctx context.Context, path string, q url.Values, v any) error {
	r, err := s.do(ctx, http.MethodGet, path, q, nil)
	return s.decode(r, err, v)
}

// post sends a body and says what became of the objects in it.
func (s *socket) post(ctx context.Context, path string, q url.Values, body io.Reader) (out []console.Applied, err error) {
	r, err := s.do(ctx, http.MethodPost, path, q, body)
	err = s.decode(r, err, &out)
	return out, err
}

func (s *socket) decode(r io.ReadCloser, err error, v any) error {
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return fmt.Errorf("%s: unexpected answer: %w", s.path, err)
	}
	return nil
}
