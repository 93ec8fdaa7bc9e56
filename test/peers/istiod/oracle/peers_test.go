package oracle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/wire"
)

// patience is for a machine that has much else to do.
const patience = 2 * time.Minute

// free is an address of this machine on which nobody listens.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// here runs Weft's control plane in this process and returns what the nodes get.
func here(ctx context.Context, dir string, c Case) (map[string]*Form, error) {
	address, err := free()
	if err := errors.Join(err, c.Write(dir, "")); err != nil {
		return nil, err
	}
	o := control.Options{
		Config: []string{filepath.Join(dir, "config"), filepath.Join(dir, "mesh.yaml")}, Plaintext: address, ConsoleSocket: filepath.Join(dir, "c"),
		StateDir: filepath.Join(dir, "s"), ConfigMode: wire.ModeEager, Families: []int{4}, Log: slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- control.Run(ctx, o) }()
	forms, err := collect(ctx, address)
	stop()
	if ended := <-ended; err == nil && !errors.Is(ended, context.Canceled) {
		err = ended
	}
	return forms, err
}

// collect asks a control plane for what each node gets.
func collect(ctx context.Context, address string) (map[string]*Form, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	out := map[string]*Form{}
	for _, n := range Nodes {
		node, err := n.Proto()
		if err != nil {
			return nil, err
		}
		r, err := Collect(ctx, address, node)
		if err == nil {
			out[n.Name], err = NewForm(r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return out, nil
}
