package wire

import "time"

// The supervisor of `weft up` has an API of its own, JSON over HTTP on the unix
// socket weft.sock in the mesh's run directory:
//
//	GET  /v1/mesh            MeshInfo
//	GET  /v1/instances       []Instance
//	GET  /v1/logs            text; ?instance=&tail=&follow=true
//	POST /v1/upgrade         UpgradeRequest; answers with a stream of UpgradeEvent
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
	Name    string `json:"name"`
	Folder  string `json:"folder"`
	RunDir  string `json:"runDir"`
	Capture string `json:"capture"` // "redirect" or "proxy"
	// CaptureRange is CaptureAll or CaptureVIP, VIPs where services' own addresses are.
	CaptureRange string    `json:"captureRange,omitempty"`
	VIPs         []string  `json:"vips,omitempty"`
	Engine       string    `json:"engine"`
	PID          int       `json:"pid"`
	Started      time.Time `json:"started"`
	Version      string    `json:"version"`
	// Applied: the supervisor has learned from the control plane what is to run.
	// Until then a mesh without instances is one that starts, not one that is done.
	Applied bool `json:"applied"`
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
	// State is "starting", "building", "running", "ready", "restarting", "failed" or "stopped".
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
	// Proxy says which version it is, how often it was upgraded, and which
	// processes before it are draining; nil: it does not say.
	Proxy *HandoverStatus `json:"proxy,omitempty"`
}

// UpgradeRequest asks for proxies to be replaced by those of another executable.
type UpgradeRequest struct {
	// Executable is the path of the weft binary that is to run.
	Executable string `json:"executable"`
	// Instances by name, "reviews-v2-0" or "reviews-v2-0.default"; All: all.
	Instances []string `json:"instances,omitempty"`
	All       bool     `json:"all,omitempty"`
	// Selector: of those, the ones with these labels.
	Selector map[string]string `json:"selector,omitempty"`
	// MaxUnavailable is how many are replaced at a time, Partition how many are
	// left as they are: numbers or percentages ("25%"). "": 1 and 0.
	MaxUnavailable string `json:"maxUnavailable,omitempty"`
	Partition      string `json:"partition,omitempty"`
	// Pause between two steps, Timeout of each; 0: none, a minute.
	Pause   time.Duration `json:"pause,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
}

// UpgradeEvent is one line of what becomes of an UpgradeRequest.
type UpgradeEvent struct {
	Instance  string `json:"instance,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// State is "started", "done", "failed" or "skipped", of an instance; the last
	// line is of none, "finished" or "stopped".
	State string          `json:"state"`
	From  *HandoverStatus `json:"from,omitempty"`
	To    *HandoverStatus `json:"to,omitempty"`
	Error string          `json:"error,omitempty"`
	// Done of Total have been replaced.
	Done  int `json:"done"`
	Total int `json:"total"`
}
