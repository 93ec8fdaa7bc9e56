package behave

import (
	"fmt"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// secretServer is an SDS server: it has the certificate "server", and the authority of
// clients, "server-cacert".
type secretServer struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
}

// StreamSecrets answers what it is asked for once, and nothing else ever.
func (secretServer) StreamSecrets(stream grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if r.GetErrorDetail() != nil {
			fmt.Fprintln(os.Stderr, "a proxy refuses a secret:", r.GetErrorDetail())
			continue
		}
		if r.GetResponseNonce() != "" {
			continue
		}
		out := &discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: wire.TypeSecret}
		for _, name := range r.GetResourceNames() {
			a, err := anypb.New(secretOf(name))
			if err != nil {
				return err
			}
			out.Resources = append(out.Resources, a)
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func secretOf(name string) *tlsv3.Secret {
	data := func(file string) *corev3.DataSource {
		raw, err := os.ReadFile(os.Getenv("TLS") + "/" + file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: raw}}
	}
	switch name {
	case "server":
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: data("server.crt"), PrivateKey: data("server.key"),
		}}}
	case "server-cacert":
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: data("ca.crt")}}}
	}
	return &tlsv3.Secret{Name: name}
}
