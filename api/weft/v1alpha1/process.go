// Package v1alpha1 is Weft's own API, group weft.dev, version v1alpha1: what
// users write in YAML beside Kubernetes' and Istio's kinds.
//
// The types say what there is and what it means; they convert nothing. Fields
// that are not listed here are refused where documents are read.
package v1alpha1

// Group and Version of the API; APIVersion is what documents say.
const (
	Group      = "weft.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// Process is a program that Weft runs on this machine: what a Deployment is on
// Kubernetes. Each replica gets an address, a name, an identity and a sidecar
// of its own. A Service selects processes by their labels as it selects pods.
//
//	apiVersion: weft.dev/v1alpha1
//	kind: Process
//	metadata: {name: reviews-v2, labels: {app: reviews, version: v2}}
//	spec:
//	  command: [go, run, ./reviews]
//	  ports: [{name: http, containerPort: 9080}]
type Process struct {
	Spec ProcessSpec `json:"spec"`
}

// ProcessSpec says how to run the program.
type ProcessSpec struct {
	// Command is the program and its arguments. A program with a slash in its
	// name is relative to WorkingDir, any other is looked up in PATH. Required.
	Command []string `json:"command"`
	// Env is added to the environment of `weft up`.
	Env []EnvVar `json:"env,omitempty"`
	// WorkingDir is relative to the folder of the file; default: that folder.
	WorkingDir string `json:"workingDir,omitempty"`
	// ServiceAccountName gives the program its identity; default: "default".
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Replicas is how many instances run, 0 to 100; default: 1.
	Replicas *int32 `json:"replicas,omitempty"`
	// Ports that the program listens on. A Service may refer to them by name;
	// with --capture proxy they are what the sidecar listens for.
	Ports []Port `json:"ports,omitempty"`
	// ReadinessProbe tells when an instance may take traffic; default: at once,
	// when it listens on its first port.
	ReadinessProbe *Probe `json:"readinessProbe,omitempty"`
	// Sidecar chooses the proxy; default: the mesh's.
	Sidecar *Sidecar `json:"sidecar,omitempty"`
	// Resources are what an instance may use. Nothing enforces them: they are what its use
	// is measured by, where a limit has {cpu} or {memory} in its condition.
	Resources *Resources `json:"resources,omitempty"`
}

// Resources are quantities of "cpu" and "memory", as of a container: the limits count, else
// the requests.
type Resources struct {
	Limits   map[string]any `json:"limits,omitempty"`
	Requests map[string]any `json:"requests,omitempty"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	// Name is letters, digits and '_', not beginning with a digit.
	Name string `json:"name"`
	// Value is taken as it is.
	Value string `json:"value,omitempty"`
}

// Port is a port that the program listens on.
type Port struct {
	// Name is unique in the process; required when a Service or probe refers to it.
	Name string `json:"name,omitempty"`
	// ContainerPort is the number, Kubernetes' word for it. Required.
	ContainerPort int32 `json:"containerPort"`
	// Protocol is TCP (default) or UDP.
	Protocol string `json:"protocol,omitempty"`
}

// Sidecar chooses the proxy beside the program.
type Sidecar struct {
	// Engine is go (Weft's own proxy), envoy (a stock Envoy), or none (no
	// sidecar: the program takes part in the mesh as an outsider).
	Engine string `json:"engine,omitempty"`
}

// Probe is Kubernetes' probe. Exactly one of HTTPGet, TCPSocket, GRPC and Exec.
type Probe struct {
	// HTTPGet succeeds with a status from 200 to 399.
	HTTPGet *HTTPGet `json:"httpGet,omitempty"`
	// TCPSocket succeeds when the port takes connections.
	TCPSocket *TCPSocket `json:"tcpSocket,omitempty"`
	// GRPC asks grpc.health.v1.
	GRPC *GRPC `json:"grpc,omitempty"`
	// Exec succeeds when the command exits with 0.
	Exec *Exec `json:"exec,omitempty"`
	// InitialDelaySeconds to wait before the first try; default: 0.
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`
	// PeriodSeconds between tries; default: 1 (Kubernetes has 10; here programs start in a second).
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`
	// TimeoutSeconds of one try; default: 1.
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// SuccessThreshold is how many successes in a row make an instance ready; default: 1.
	SuccessThreshold int32 `json:"successThreshold,omitempty"`
	// FailureThreshold is how many failures in a row make it not ready; default: 3.
	FailureThreshold int32 `json:"failureThreshold,omitempty"`
}

// HTTPGet is a probe by HTTP.
type HTTPGet struct {
	// Path begins with "/"; default: "/".
	Path string `json:"path,omitempty"`
	// Port is a number or the name of one of Ports. Required.
	Port any `json:"port"`
	// Scheme is HTTP; HTTPS is not carried out.
	Scheme string `json:"scheme,omitempty"`
	// HTTPHeaders are sent along.
	HTTPHeaders []HTTPHeader `json:"httpHeaders,omitempty"`
}

// HTTPHeader is one header of a probe.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// TCPSocket is a probe by connecting.
type TCPSocket struct {
	// Port is a number or the name of one of Ports. Required.
	Port any `json:"port"`
}

// GRPC is a probe by gRPC's health protocol.
type GRPC struct {
	// Port is a number. Required.
	Port int32 `json:"port"`
	// Service to ask for; default: the server as a whole.
	Service string `json:"service,omitempty"`
}

// Exec is a probe by running a command.
type Exec struct {
	Command []string `json:"command"`
}

// Deleted says that an object of the folder is to be treated as if it were not
// there: what `weft delete` leaves. It stands in the overlay of a running mesh,
// never in a user's folder.
type Deleted struct {
	Spec DeletedSpec `json:"spec"`
}

// DeletedSpec names the object; its name and namespace are those of the metadata.
type DeletedSpec struct {
	// ObjectKind as users write it: "VirtualService".
	ObjectKind string `json:"objectKind"`
}
