package proxy

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/wire"
)

// TestProtocols: what the control plane takes for spoken everywhere is.
func TestProtocols(t *testing.T) {
	var names []string
	for _, p := range protocols(nil) {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, wire.MessageProtocols) {
		t.Errorf("the proxy has %q, wire.MessageProtocols %q", names, wire.MessageProtocols)
	}
}
