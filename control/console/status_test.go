package console

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// TestStatusOfObjects: conditions, in the order in which they are shown, of objects
// that are in order, at fault, in conflict, refused, and on their way.
func TestStatusOfObjects(t *testing.T) {
	k := start(t)
	routes := map[string]*model.RouteSet{}
	var objects []model.Object
	for _, name := range []string{"fine", "lost", "taken", "kept", "late", "nobody"} {
		routes[name] = &model.RouteSet{Meta: head(model.KindVirtualService, "shop", name)}
		objects = append(objects, routes[name])
	}
	account := &model.ServiceAccount{Meta: head(model.KindServiceAccount, "shop", "account")}
	s := mesh(1, append(objects, account)...)
	find := func(code string, severity model.Severity, name, message string) {
		s.Findings = append(s.Findings, model.Finding{
			Code: code, Severity: severity, Object: model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: name}, Field: "spec", Message: message, Origin: model.Origin{File: name + ".yaml", Line: 3},
		})
	}
	find("WEFT0201", model.Error, "lost", "there is no service x")
	find("WEFT0208", model.Warning, "taken", "x has routes in VirtualService shop/fine (fine.yaml:1) already")
	find("WEFT0105", model.Error, "kept", "unknown field")
	find("WEFT0114", model.Info, "kept", "the last good version stays in force")
	find("WEFT0105", model.Error, "never", "unknown field")
	find("WEFT0127", model.Info, "fine", "says no protocol")
	k.snapshots.Store(s)
	all := fleet.Reach{Programmed: 2, Of: 2}
	k.proxies.reach = map[string]fleet.Reach{
		"fine": all, "lost": all, "taken": all, "kept": all, "nobody": {},
		"late": {Programmed: 1, Of: 3, Pending: []fleet.Pending{{Proxy: "a.shop", Why: "rejected: no", Rejected: true}, {Proxy: "b.shop", Why: "is not connected"}}},
	}
	up := []string{"Programmed True Programmed: on 2 of 2 proxies", "Reconciled True Reconciled: 2/2 proxies up to date."}
	want := map[string][]string{
		"account": {"Accepted True Accepted: ", "ResolvedRefs True ResolvedRefs: "},
		"fine":    append([]string{"Accepted True Accepted: ", "ResolvedRefs True ResolvedRefs: "}, up...),
		"lost":    append([]string{"Accepted True Accepted: ", "ResolvedRefs False RefNotFound: spec: there is no service x"}, up...),
		"taken": append([]string{
			"Accepted True Accepted: ", "ResolvedRefs True ResolvedRefs: ", "Conflicted True Conflicted: spec: x has routes in VirtualService shop/fine (fine.yaml:1) already",
		}, up...),
		"kept":  append([]string{"Accepted False LastGoodInForce: the version before stays in force: spec: unknown field", "ResolvedRefs True ResolvedRefs: "}, up...),
		"never": {"Accepted False Invalid: spec: unknown field", "ResolvedRefs True ResolvedRefs: "},
		"late": {
			"Accepted True Accepted: ", "ResolvedRefs True ResolvedRefs: ", "Programmed False Rejected: on 1 of 3 proxies: a.shop rejected: no; b.shop is not connected",
			"Reconciled False Pending: 1/3 proxies up to date.",
		},
		"nobody": {"Accepted True Accepted: ", "ResolvedRefs True ResolvedRefs: ", "Programmed Unknown NoProxy: no proxy has it in its scope", "Reconciled True Reconciled: 0/0 proxies up to date."},
	}
	got := map[string][]string{}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?status=true&namespace=shop") {
		for _, c := range o.Status.Conditions {
			got[o.Name] = append(got[o.Name], c.Type+" "+c.Status+" "+c.Reason+": "+c.Message)
		}
		if o.Name == "taken" && (len(o.Status.Messages) != 1 || o.Status.Messages[0].Type.Code != "IST0109" || o.Status.Messages[0].Level != "WARNING") {
			t.Errorf("messages of a conflict: %+v", o.Status.Messages)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?namespace=shop") {
		if o.Status != nil || o.Name == "never" {
			t.Errorf("%s has a status that nobody asked for", o.Key)
		}
	}
	routes["fine"].Annotations = map[string]string{"galley.istio.io/analyze-suppress": "IST0118"}
	if _, text := k.do("GET", "/v1/findings?suppress=annotations", ""); strings.Contains(text, "says no protocol") || !strings.Contains(text, "unknown field") {
		t.Errorf("with suppression: %s", text)
	}
	if _, text := k.do("GET", "/v1/findings", ""); !strings.Contains(text, "says no protocol") {
		t.Errorf("without suppression: %s", text)
	}
}
