// Weft-proxy is the Go data plane alone, for sidecar images: what `weft proxy` is,
// without the control plane, the supervisor and the clients that those link in.
package main

import "github.com/weftmesh/weft/cmd/dataplane"

// version is set by -ldflags "-X main.version=…"; else the module's.
var version string

func main() { dataplane.Main(version) }
