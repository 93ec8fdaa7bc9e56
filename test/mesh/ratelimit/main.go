// Command ratelimit is a service of Envoy's rate limit protocol, for tests: it listens on port 8081, and admits three
// requests of each method whose name begins with "paid", and all others.
package main

import (
	"context"
	"log"
	"net"
	"strings"
	"sync"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
)

const most = 3

type server struct {
	rlsv3.UnimplementedRateLimitServiceServer
	mu   sync.Mutex
	seen map[string]int
}

func (s *server) ShouldRateLimit(_ context.Context, in *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	out := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range in.GetDescriptors() {
		for _, e := range d.GetEntries() {
			if in.GetDomain() != "calls" || e.GetKey() != "method" || !strings.HasPrefix(e.GetValue(), "paid") {
				continue
			}
			if s.seen[e.GetValue()]++; s.seen[e.GetValue()] > most {
				out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
			}
		}
	}
	return out, nil
}

func main() {
	ln, err := net.Listen("tcp", ":8081")
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	rlsv3.RegisterRateLimitServiceServer(g, &server{seen: map[string]int{}})
	log.Fatal(g.Serve(ln))
}
