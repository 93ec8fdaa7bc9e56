// Command own-codec is weft-proxy with one more protocol: "quote", whose codec is in the folder
// beside. See docs/CODECS.md.
package main

import (
	"github.com/weftmesh/weft/cmd/dataplane"
	"github.com/weftmesh/weft/examples/own-codec/quote"
)

func main() { dataplane.Main("", &quote.Protocol) }
