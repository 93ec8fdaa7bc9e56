package bearertoken

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/metadata"
)

func TestTokens(t *testing.T) {
	with := func(values ...string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": values})
	}
	for _, c := range []struct {
		ctx   context.Context
		all   []string
		token string
	}{
		{t.Context(), nil, ""},
		{with("Basic x"), nil, ""},
		{with("Bearer "), []string{""}, ""},
		{with("Basic x", "Bearer ", "Bearer a", "Bearer b"), []string{"", "a", "b"}, "a"},
	} {
		if got := slices.Collect(All(c.ctx)); !slices.Equal(got, c.all) {
			t.Errorf("all: %q, want %q", got, c.all)
		}
		if got := First(c.ctx); got != c.token {
			t.Errorf("token: %q, want %q", got, c.token)
		}
	}
}
