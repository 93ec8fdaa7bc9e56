package control

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/identity"
)

// Webhook is where a Kubernetes API server asks what it is to do with objects. Its server has
// a certificate of the mesh's authority, for the names of Secure.
type Webhook struct {
	// Address is the host:port; empty: there is none.
	Address string
	// Handlers answer, by their paths as http.ServeMux has them.
	Handlers map[string]http.Handler
}

// serveWebhook serves until ctx ends.
func serveWebhook(ctx context.Context, g *errgroup.Group, o Options, ca *identity.Authority, l net.Listener) {
	if l == nil {
		return
	}
	mux := http.NewServeMux()
	for path, h := range o.Webhook.Handlers {
		mux.Handle(path, h)
	}
	config := ca.Serve(o.Secure.names(l.Addr()), nil).Public()
	g.Go(func() error { return console.Serve(ctx, tls.NewListener(l, config), mux, o.Log) })
}
