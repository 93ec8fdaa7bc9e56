package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Target is where a control plane is and how to speak to it.
type Target struct {
	// Network is "unix" or "tcp", Address a path or host:port.
	Network, Address string
	// Metadata goes with every call, e.g. "authorization". Lower-case keys.
	Metadata map[string]string
	// Token, when set, is asked for what follows "Bearer " before every call.
	Token func() (string, error)
	// StateOfTheWorld and EveryNode are as in Options.
	StateOfTheWorld, EveryNode bool
	// TLS, when set, secures the connection.
	TLS *tls.Config
	// Dial makes the connection; nil: net.Dialer. It is how the mark gets on it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Connect returns a connection that all services of the target share: ADS, and
// the certificate service. It dials when first used and again after a loss.
func Connect(t Target) (*grpc.ClientConn, error) {
	dial := t.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	creds := insecure.NewCredentials()
	if t.TLS != nil {
		creds = credentials.NewTLS(t.TLS)
	}
	// The passthrough scheme hands the address to the dialer as it is; the
	// authority of a unix socket would otherwise be its path.
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dial(ctx, t.Network, addr)
		}),
		grpc.WithAuthority(authority(t)),
		grpc.WithTransportCredentials(creds),
		grpc.WithPerRPCCredentials(metadataCreds{t.Metadata, t.Token}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, fmt.Errorf("control plane at %s %s: %w; check the bootstrap's xds cluster", t.Network, t.Address, err)
	}
	return conn, nil
}

func authority(t Target) string {
	if t.Network == "unix" {
		return "localhost"
	}
	return t.Address
}

// metadataCreds sends fixed metadata, and a token that may change, with every call.
type metadataCreds struct {
	fixed map[string]string
	token func() (string, error)
}

// GetRequestMetadata returns the metadata.
func (m metadataCreds) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if m.token == nil {
		return m.fixed, nil
	}
	token, err := m.token()
	if err != nil {
		return nil, fmt.Errorf("token for the control plane: %w", err)
	}
	out := make(map[string]string, len(m.fixed)+1)
	maps.Copy(out, m.fixed)
	out["authorization"] = "Bearer " + token
	return out, nil
}

// RequireTransportSecurity is false: a token may go over a unix socket.
func (metadataCreds) RequireTransportSecurity() bool { return false }
