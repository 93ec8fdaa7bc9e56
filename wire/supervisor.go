package wire

import "time"

// The supervisor of `weft up` has an API of its own, JSON over HTTP on the unix
// socket weft.sock in the mesh's run directory:
//
//	GET  /v1/mesh            MeshInfo
//	GET  /v1/instances       []Instance
//	GET  /v1/logs            text; ?instance=&tail=&follow=true
//	POST /v1/down            ends the mesh

// Files of a mesh in its run directory.
const (
	SupervisorSocket = "weft.sock"
	ConsoleSocket    = "control.sock"
	XDSSocketFile    = "xds.sock"
	HandSocketFile   = "hand.sock"
	ProcessStateFile = "processes.json"
	OverlayDir       = "applied"
	ControlStateDir  = "control"
)

// MeshInfo describes a running mesh.
type MeshInfo struct {
	Name    string    `json:"name"`
	Folder  string    `json:"folder"`
	RunDir  string    `json:"runDir"`
	Capture string    `json:"capture"` // "redirect" or "proxy"
	Engine  string    `json:"engine"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	// URLs that a person can open, and what each is.
	URLs []URL `json:"urls,omitempty"`
}

// URL is one address on the host.
type URL struct {
	URL string `json:"url"`
	// For says what is there: "Gateway default/bookstore", "Service default/web".
	For string `json:"for"`
	// Note is set when the port is not the one that was asked for.
	Note string `json:"note,omitempty"`
}

// Instance is one running thing: the control plane, a program, a gateway.
type Instance struct {
	// Name is "reviews-v2-0"; unique in the namespace.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	App       string `json:"app"`
	// Kind is "control", "process" or "gateway".
	Kind string `json:"kind"`
	// State is "starting", "running", "ready", "restarting", "failed" or "stopped".
	State    string    `json:"state"`
	Message  string    `json:"message,omitempty"`
	Engine   string    `json:"engine,omitempty"`
	Address  string    `json:"address,omitempty"`
	PID      int       `json:"pid,omitempty"`
	ProxyPID int       `json:"proxyPid,omitempty"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	// AdminSocket is the unix socket of the proxy's admin API and metrics.
	AdminSocket string `json:"adminSocket,omitempty"`
}
