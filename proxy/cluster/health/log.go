package health

import (
	"encoding/json"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Logs are the logs by their paths, which are opened once. The zero value is ready.
type Logs struct {
	mu   sync.Mutex
	open map[string]*Log
}

// Open opens a file for appending, or returns the log that it has already.
func (s *Logs) Open(path string) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.open[path]; l != nil {
		return l, nil
	}
	l, err := openLog(path)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*Log{}
	}
	s.open[path] = l
	return l, nil
}

// Close closes all files; later events are dropped.
func (s *Logs) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.open {
		l.close()
	}
	s.open = nil
}

// Log appends events to a file, one line of JSON each, as Envoy's health check
// event log does. Safe for concurrent use.
type Log struct {
	mu sync.Mutex
	f  *os.File
}

func openLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // as other logs
	if err != nil {
		return nil, err
	}
	return &Log{f: f}, nil
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
}

// Event is one line. Of its pointers exactly one is set.
type Event struct {
	Type    string  `json:"health_checker_type"`
	Host    Address `json:"host"`
	Cluster string  `json:"cluster_name"`
	Time    string  `json:"timestamp"`

	Eject      *Eject    `json:"eject_unhealthy_event,omitempty"`
	Add        *First    `json:"add_healthy_event,omitempty"`
	Failure    *Failure  `json:"health_check_failure_event,omitempty"`
	Degraded   *struct{} `json:"degraded_healthy_host,omitempty"`
	NoDegraded *struct{} `json:"no_longer_degraded_host,omitempty"`
	Success    *First    `json:"successful_health_check_event,omitempty"`

	Locality Locality `json:"locality"`
}

// Address of a host, in the form of Envoy's message.
type Address struct {
	Socket *Socket `json:"socket_address,omitempty"`
	Pipe   *Pipe   `json:"pipe,omitempty"`
}

// Socket is an address of TCP.
type Socket struct {
	Protocol   string `json:"protocol"`
	Address    string `json:"address"`
	Port       uint16 `json:"port_value"`
	Resolver   string `json:"resolver_name"`
	IPv4Compat bool   `json:"ipv4_compat"`
	Namespace  string `json:"network_namespace_filepath"`
}

// Pipe is a unix socket.
type Pipe struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
}

// Locality of a host.
type Locality struct {
	Region  string `json:"region"`
	Zone    string `json:"zone"`
	SubZone string `json:"sub_zone"`
}

// Eject says why a host was taken out.
type Eject struct {
	Type string `json:"failure_type"`
}

// First tells whether it was the first answer.
type First struct {
	First bool `json:"first_check"`
}

// Failure is a failed question.
type Failure struct {
	Type   string `json:"failure_type"`
	First  bool   `json:"first_check"`
	Status int    `json:"http_status_code"`
}

// AddressOf makes an Address.
func AddressOf(a netip.AddrPort, path string) Address {
	if path != "" {
		return Address{Pipe: &Pipe{Path: path}}
	}
	return Address{Socket: &Socket{Protocol: "TCP", Address: a.Addr().String(), Port: a.Port()}}
}

// Word is how Envoy calls a failure.
func (r Result) Word() string {
	switch r {
	case NetworkFailed:
		return "NETWORK"
	case TimedOut:
		return "NETWORK_TIMEOUT"
	default:
		return "ACTIVE"
	}
}

// Write appends e. A file that takes nothing costs events, not health checks.
func (l *Log) Write(e *Event) {
	if l == nil {
		return
	}
	e.Time = Stamp(time.Now())
	l.Append(e)
}

// Stamp is a time as Envoy's event logs have it.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Append appends an event of another kind, as JSON.
func (l *Log) Append(event any) {
	b, err := json.Marshal(event)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.f.Write(append(b, '\n'))
}
