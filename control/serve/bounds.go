package serve

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/resource"
)

// What one stream may cost, whoever is at its other end. A consumer that behaves is
// far below each.
const (
	// maxNode is in bytes.
	maxNode = 256 << 10
	// maxName is of one name, in bytes.
	maxName = 4 << 10
	// maxStrange is how many names a stream may ask for that do not exist: those that
	// do are shared with others, and as many as the mesh has.
	maxStrange = 20_000
	// firstRequest is how long a new stream may take to say who it is.
	firstRequest = 30 * time.Second
)

// first reads the first request of a stream.
func first[Req any](ctx context.Context, recv func() (Req, error)) (r Req, err error) {
	type got struct {
		r   Req
		err error
	}
	ch := make(chan got, 1)
	go func() { // ends with the stream
		r, err := recv()
		ch <- got{r, err}
	}()
	t := time.NewTimer(firstRequest)
	defer t.Stop()
	select {
	case g := <-ch:
		return g.r, g.err
	case <-ctx.Done():
		return r, ctx.Err()
	case <-t.C:
		return r, status.Errorf(codes.DeadlineExceeded, "no request within %v", firstRequest)
	}
}

func checkNode(n *corev3.Node) error {
	if n.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first request of a stream must carry node.id")
	}
	if size := proto.Size(n); size > maxNode {
		return status.Errorf(codes.InvalidArgument, "node has %d bytes, want at most %d: shorten its metadata", size, maxNode)
	}
	return nil
}

func checkNames(names []string) error {
	for _, n := range names {
		if len(n) > maxName {
			return status.Errorf(codes.InvalidArgument, "a resource name has %d bytes, want at most %d", len(n), maxName)
		}
	}
	return nil
}

func tooStrange(n int) error {
	if n <= maxStrange {
		return nil
	}
	return status.Errorf(codes.ResourceExhausted, "the stream asks for %d names that do not exist, want at most %d: unsubscribe from some", n, maxStrange)
}

// strange counts the names of which there is nothing.
func strange(names []string, set *resource.Set) (n int) {
	for _, name := range names {
		if set.Get(name) == nil {
			n++
		}
	}
	return n
}
