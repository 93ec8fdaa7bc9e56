// Package hub runs workloads in namespaces of their own. A supervisor in the
// host's namespaces starts its own executable again as the hub (Start); the hub
// (Main) is process 1 of a new PID namespace and holds the mesh's network
// namespace and those of the workloads.
//
// Guarantee: nothing outlives the hub. When it ends, however it ends, the
// kernel kills what it started, and every namespace, device, rule and mount
// goes with it; and it ends when its supervisor does, also by SIGKILL.
//
// Without root everything lives in a user namespace in which the user is
// himself. Sidecars get the capabilities they need, programs get none.
//
// The two talk over a socket pair, a message a packet, with sockets and files
// attached. The package does not decide what runs, and restarts nothing.
package hub

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
)

// Command is the hidden first argument with which an executable calls itself
// as the hub. Its main must begin with
//
//	if hub.Called(os.Args) { os.Exit(hub.Main()) }
const Command = "__hub"

// Called tells whether the arguments ask for the hub.
func Called(args []string) bool { return len(args) > 1 && args[1] == Command }

// ErrNoNamespaces is the cause when the kernel or system refuses namespaces.
var ErrNoNamespaces = errors.New("namespaces cannot be had here")

// Info is what the hub found.
type Info struct {
	// IPv6: workloads have IPv6 addresses too.
	IPv6 bool `json:"ipv6"`
	// Notes are for a person: what could not be had and does without.
	Notes []string `json:"notes,omitempty"`
}

// Network describes the network of one workload.
type Network struct {
	Name     string         `json:"name"` // unique
	Hostname string         `json:"hostname"`
	V4       netip.Addr     `json:"v4"`
	V6       netip.Addr     `json:"v6"` // used when the kernel has IPv6
	Layout   netns.Layout   `json:"layout"`
	Capture  capture.Config `json:"capture"`
	// Search is the DNS search list.
	Search []string `json:"search,omitempty"`
	// Dir is a folder that the hub may keep the namespace's files in
	// (resolv.conf, hosts): it exists and only its user may write to it.
	Dir string `json:"dir"`
}

// Exec is a program to run.
type Exec struct {
	// Network is the name of the workload's network.
	Network string `json:"network"`
	Argv    []string
	// Env is the whole environment; nil: the hub's own, which is the supervisor's.
	Env []string `json:"env,omitempty"`
	// AddEnv is put on top, the later one wins; a name without "=" is removed.
	AddEnv []string `json:"addEnv,omitempty"`
	Dir    string   `json:"dir,omitempty"`
	// Sidecar: a part of the mesh: it may mark its traffic.
	Sidecar bool `json:"sidecar,omitempty"`
	// Stdout and Stderr are the ends to write to; the caller closes its copies.
	Stdout *os.File `json:"-"`
	Stderr *os.File `json:"-"`
}

// Exit is how a program ended.
type Exit struct {
	Code   int           `json:"code"`   // -1 when a signal killed it
	Signal int           `json:"signal"` // 0: it exited
	CPU    time.Duration `json:"cpu"`
}

// Socket describes a socket to be made in a workload's namespace.
type Socket struct {
	// Network is the workload; "": the hub's own.
	Network string
	// Proto is "tcp" or "udp".
	Proto string
	To    netip.AddrPort
	// Program: straight to the program, past capture.
	Program bool
}

// message is a packet between the two. Requests and their answers share an ID;
// an event has none.
type message struct {
	ID    uint64          `json:"id,omitempty"`
	Op    string          `json:"op,omitempty"`
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

const (
	opInit    = "init"    // initBody → Info
	opNetwork = "network" // Network
	opCapture = "capture" // captureBody
	opRemove  = "remove"  // nameBody
	opExec    = "exec"    // execBody + 2 files → execAnswer + pidfd
	opSignal  = "signal"  // signalBody
	opSocket  = "socket"  // socketBody → 1 file
	evExit    = "exit"    // exitBody
)

type initBody struct {
	Layout netns.Layout `json:"layout"`
	User   bool         `json:"user"` // in a user namespace
}

type nameBody struct {
	Name string `json:"name"`
}

type captureBody struct {
	Name    string         `json:"name"`
	Capture capture.Config `json:"capture"`
}

type execBody struct {
	Key  uint64 `json:"key"`
	Exec Exec   `json:"exec"`
}

type execAnswer struct {
	PID int `json:"pid"`
}

type signalBody struct {
	Key    uint64 `json:"key"`
	Signal int    `json:"signal"`
	Group  bool   `json:"group"`
}

type socketBody struct {
	Network string `json:"network"`
	Family  int    `json:"family"`
	Type    int    `json:"type"`
	Mark    int    `json:"mark,omitempty"`
	// Source to bind to, without a port.
	Source netip.Addr `json:"source"`
}

type exitBody struct {
	Key  uint64 `json:"key"`
	Exit Exit   `json:"exit"`
}

// maxMessage bounds a packet; a program's environment is the largest thing in one.
const maxMessage = 192 << 10
