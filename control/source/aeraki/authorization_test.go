package aeraki_test

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

const dubboPolicyHead = "apiVersion: dubbo.aeraki.io/v1alpha1\nkind: DubboAuthorizationPolicy\nmetadata: {name: a, namespace: n}\nspec: "

// TestDubboAuthorization: Aeraki's policy becomes one of the mesh's, for Dubbo alone.
func TestDubboAuthorization(t *testing.T) {
	objects, findings := file.Decode([]byte(dubboPolicyHead+`{action: DENY, rules: [{from: [{source: {principals: ["a*"], notNamespaces: [b]}}], to: [{operation: {interfaces: ["*c"], notMethods: [d]}}]}]}`), "a.yaml")
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("%d objects, %v", len(objects), findings)
	}
	p := objects[0].(*model.Authz)
	if p.Action != model.Deny || p.Protocol != "dubbo" || len(p.Rules) != 1 {
		t.Fatalf("%+v", p)
	}
	from, to := p.Rules[0].From[0], p.Rules[0].To[0]
	if from.Principals[0] != "a*" || from.NotNamespaces[0] != "b" || to.Interfaces[0] != "*c" || to.NotMethods[0] != "d" {
		t.Errorf("%+v", p.Rules)
	}
}

func TestBadDubboAuthorization(t *testing.T) {
	for spec, want := range map[string]string{
		`{action: AUDIT}`:                                                       "spec.action: ",
		`{rules: [{from: [{}]}]}`:                                               "spec.rules[0].from[0].source: is empty",
		`{rules: [{to: [{operation: {}}]}]}`:                                    "spec.rules[0].to[0].operation: is empty",
		`{rules: [{to: [{operation: {methods: ["a*b"]}}]}]}`:                    "spec.rules[0].to[0].operation.methods[0]: ",
		`{rules: [{to: [{operation: {paths: [a]}}]}]}`:                          "spec.rules[0].to[0].operation.paths: ",
		`{rules: [{from: [{source: {principals: ["spiffe://a/ns/b/sa/c"]}}]}]}`: "spec.rules[0].from[0].source.principals[0]: ",
		`{selector: {}}`:                                                        "spec.selector: ",
	} {
		objects, findings := file.Decode([]byte(dubboPolicyHead+spec), "a.yaml")
		if len(objects) != 0 || len(findings) == 0 || !strings.HasPrefix(findings[0].Field+": "+findings[0].Message, want) {
			t.Errorf("%s: %d objects, %v", spec, len(objects), findings)
		}
	}
}
