package admin

import (
	"net/http"
	"net/http/pprof"
)

// profiles adds what `go tool pprof` asks for: where CPU time and memory go. It
// costs nothing until somebody asks.
func profiles(m *http.ServeMux) {
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
}
