package oracle

import (
	"testing"

	rbacconfig "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/prototext"
)

// TestLogic: expressions that say the same have the same text, others have not.
func TestLogic(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"and of one", `and_rules{rules{destination_port:1}}`, `destination_port:1`, "destination_port{1}"},
		{"nested", `and_rules{rules{and_rules{rules{destination_port:1} rules{destination_port:2}}} rules{destination_port:3}}`,
			`and_rules{rules{destination_port:3} rules{destination_port:2} rules{destination_port:1}}`,
			"and(destination_port{1} | destination_port{2} | destination_port{3})"},
		{"any among all", `and_rules{rules{any:true} rules{destination_port:1}}`, `or_rules{rules{destination_port:1} rules{destination_port:1}}`, "destination_port{1}"},
		{"any of any", `or_rules{rules{any:true} rules{destination_port:1}}`, `any:true`, "and()"},
		{"not not", `not_rule{not_rule{destination_port:1}}`, `destination_port:1`, "destination_port{1}"},
		{"not any", `not_rule{any:true}`, `not_rule{and_rules{rules{any:true}}}`, "or()"},
		{"and in or", `or_rules{rules{and_rules{rules{destination_port:1} rules{destination_port:2}}} rules{destination_port:3}}`,
			`or_rules{rules{destination_port:3} rules{and_rules{rules{destination_port:2} rules{destination_port:1}}}}`,
			"or(and(destination_port{1} | destination_port{2}) | destination_port{3})"},
	} {
		for _, text := range []string{c.a, c.b} {
			p := &rbacconfig.Permission{}
			if err := prototext.Unmarshal([]byte(text), p); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			e, err := empty().logic(p.ProtoReflect())
			if err != nil || e.String() != c.want {
				t.Errorf("%s: %s is %q, %v, want %q", c.name, text, e, err, c.want)
			}
		}
	}
}
