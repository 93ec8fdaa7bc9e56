// Command weft is a control plane with one source more: the one of the example.
//
//	go run ./examples/source/weft -shops shops.json -config ./examples/bookstore -xds 127.0.0.1:15010
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/control/source"
	shops "github.com/weftmesh/weft/examples/source"
)

func main() {
	file := flag.String("shops", "shops.json", "the shops")
	config := flag.String("config", ".", "folder of configuration")
	xds := flag.String("xds", "127.0.0.1:15010", "host:port of xDS in plain text")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := control.Run(ctx, control.Options{
		Config: []string{*config}, Plaintext: *xds, Sources: []source.Source{&shops.Shops{File: *file}}, Log: slog.Default(),
	})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
