// Package bearertoken reads the tokens (RFC 6750) that callers of gRPC methods send in their
// metadata. It judges none of them.
package bearertoken

import (
	"context"
	"iter"
	"strings"

	"google.golang.org/grpc/metadata"
)

// All are the tokens of a call, as they come; some may be empty.
func All(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		md, _ := metadata.FromIncomingContext(ctx)
		for _, v := range md.Get("authorization") {
			if token, ok := strings.CutPrefix(v, "Bearer "); ok && !yield(token) {
				return
			}
		}
	}
}

// First is the first token of a call that is not empty; "": there is none.
func First(ctx context.Context) string {
	for token := range All(ctx) {
		if token != "" {
			return token
		}
	}
	return ""
}
