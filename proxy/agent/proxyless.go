package agent

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/proxyless"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/xds"
)

// proxyless starts what gRPC needs that speaks xDS itself.
func (a *agent) proxyless(ctx context.Context, g *errgroup.Group, control *grpc.ClientConn) error {
	o := proxyless.Options{
		Files: *a.GRPC, Node: a.Node, Control: control, Log: a.Log.With("component", "grpc"),
		Metadata: a.Metadata.Struct().AsMap(),
	}
	delete(o.Metadata, "WEFT_AGENT") // which only the agent's own stream is
	ask := sds.Options{CA: capb.NewIstioCertificateServiceClient(control), Logger: a.Log}
	if i := a.Istio; i != nil {
		o.Metadata, o.Locality = i.Metadata, i.Locality
		ask.URI, ask.Validity = i.SPIFFE, i.TTL
		switch id := i.Identity; {
		case id.Socket != "":
			return errors.New("certificates from another agent's socket are not written to files: let the certificate authority be asked, or mount files")
		case id.Chain != "":
			o.Own = &proxyless.Own{Chain: id.Chain, Key: id.Key, Roots: id.Roots}
		case i.CA.Address != i.XDS.Address:
			conn, err := xds.Connect(i.CA.Target((&net.Dialer{}).DialContext))
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			ask.CA = capb.NewIstioCertificateServiceClient(conn)
		}
	}
	if o.Own == nil {
		o.Identity = func(publish func(*sds.Identity)) (func(context.Context) error, error) {
			ask.Publish = publish
			c, err := sds.NewClient(ask)
			if err != nil {
				return nil, err
			}
			return c.Run, nil
		}
	}
	a.grpc = proxyless.New(o)
	g.Go(func() error { return a.grpc.Run(ctx) })
	return nil
}
