package attach

import (
	"regexp"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

// TestReplacePrefix checks the table of the API's documentation of ReplacePrefixMatch.
func TestReplacePrefix(t *testing.T) {
	for _, tc := range []struct{ path, prefix, with, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/bar", "/", "/xyz", "/xyz/bar"},
		{"/bar", "/", "/", "/bar"},
		{"/a+b/c", "/a+b", "/", "/c"},
	} {
		plain, regex, replace := replacePrefix(tc.prefix, tc.with)
		got := plain + strings.TrimPrefix(tc.path, tc.prefix)
		if regex != "" {
			got = regexp.MustCompile(regex).ReplaceAllString(tc.path, replace)
		}
		if got != tc.want {
			t.Errorf("%s: %s by %q is %s, want %s", tc.path, tc.prefix, tc.with, got, tc.want)
		}
	}
}

// TestSameAgain: what did not change is the same pointer in the next outcome.
func TestSameAgain(t *testing.T) {
	gw := &model.APIGateway{
		Meta:  model.Meta{Key: model.Key{Kind: model.KindAPIGateway, Namespace: "a", Name: "g"}},
		Class: "weft", Listeners: []model.APIListener{{Name: "http", Port: 80, Protocol: "HTTP", Allowed: model.NamespaceFilter{Same: true}}},
	}
	route := func(path string) *model.APIRoute {
		return &model.APIRoute{
			Meta:    model.Meta{Key: model.Key{Kind: model.KindHTTPRoute, Namespace: "a", Name: "r"}},
			Parents: []model.APIParent{{Ref: model.Ref{Group: model.GatewayAPIGroup, Kind: "Gateway", Namespace: "a", Name: "g"}}},
			Rules:   []model.APIRule{{Matches: []model.Match{{Conditions: []model.Condition{{Value: path}}}}}},
		}
	}
	s := &model.Snapshot{Mesh: model.DefaultMesh(), API: model.GatewayAPI{Gateways: []*model.APIGateway{gw}, Routes: []*model.APIRoute{route("/a")}}}
	first := Attach(s, nil)
	if again := Attach(s, first); again.Routes[0] != first.Routes[0] || again.Gateways[0] != first.Gateways[0] {
		t.Error("the same objects are other pointers")
	}
	s.API.Routes = []*model.APIRoute{route("/b")}
	second := Attach(s, first)
	if second.Routes[0] == first.Routes[0] || second.Routes[0].Hash == first.Routes[0].Hash {
		t.Error("a changed route set is the same")
	}
	if second.Gateways[0] != first.Gateways[0] {
		t.Error("a Gateway that did not change is another pointer")
	}
}
