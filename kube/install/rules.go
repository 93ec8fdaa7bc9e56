package install

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/control/source/apiserver"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/status"
	"github.com/weftmesh/weft/kube/crd"
)

// Rule is a rule of a role (rbac.authorization.k8s.io/v1).
type Rule struct {
	APIGroups     []string `json:"apiGroups,omitempty"`
	Resources     []string `json:"resources,omitempty"`
	ResourceNames []string `json:"resourceNames,omitempty"`
	URLs          []string `json:"nonResourceURLs,omitempty"`
	Verbs         []string `json:"verbs"`
}

// Rules are what a control plane that reads a cluster with a decoder needs there: in all
// namespaces, and in its own.
func Rules(dec *document.Decoder) (everywhere, own []Rule) {
	byGroup := map[string][]string{}
	for _, k := range apiserver.Kinds(dec) {
		if absent(dec, k) {
			continue
		}
		byGroup[k.Group] = append(byGroup[k.Group], crd.Plural(k.Kind))
	}
	for _, g := range slices.Sorted(maps.Keys(byGroup)) {
		slices.Sort(byGroup[g])
		everywhere = append(everywhere, Rule{APIGroups: []string{g}, Resources: slices.Compact(byGroup[g]), Verbs: []string{"list", "watch"}})
	}
	everywhere = append(everywhere, statuses(dec)...)
	for _, a := range cluster.Needs() {
		r := Rule{APIGroups: a.Groups, Resources: a.Resources, ResourceNames: a.Names, URLs: a.URLs, Verbs: a.Verbs}
		if a.Own {
			own = append(own, r)
		} else {
			everywhere = append(everywhere, r)
		}
	}
	return everywhere, own
}

// absent tells whether no cluster has a kind: it is one of `weft up`.
func absent(dec *document.Decoder, k schema.GroupKind) bool {
	return k.Group == ours && !slices.ContainsFunc(crd.Of(dec), func(d crd.Definition) bool { return d.Spec.Group == k.Group && d.Spec.Names.Kind == k.Kind })
}

// ours is the group of Weft's own kinds.
const ours = "weft.dev"

// statuses are the rules for those that are written.
func statuses(dec *document.Decoder) (out []Rule) {
	byGroup := map[string][]string{}
	for _, list := range status.Kinds(dec) {
		for _, k := range list {
			if absent(dec, k.GroupKind) {
				continue
			}
			byGroup[k.Group] = append(byGroup[k.Group], crd.Plural(k.Kind))
		}
	}
	for _, g := range slices.Sorted(maps.Keys(byGroup)) {
		names := slices.Sorted(slices.Values(byGroup[g]))
		out = append(out, Rule{APIGroups: []string{g}, Resources: names, Verbs: []string{"get"}})
		var sub []string
		for _, n := range names {
			sub = append(sub, n+"/status")
		}
		out = append(out, Rule{APIGroups: []string{g}, Resources: sub, Verbs: []string{"patch"}})
	}
	return out
}

// Checked are the API groups whose objects the validating webhook is shown.
func Checked(dec *document.Decoder) []string {
	groups := map[string]bool{}
	for _, d := range crd.Of(dec) {
		groups[d.Spec.Group] = true
	}
	return slices.SortedFunc(maps.Keys(groups), cmp.Compare)
}

// generated are the templates of the chart that the code writes; a test compares them.
func generated(dec *document.Decoder) (map[string]string, error) {
	everywhere, own := Rules(dec)
	out := map[string]string{}
	var roles strings.Builder
	roles.WriteString("# Made of what the code asks for: go test ./kube/install -update\n")
	for i, r := range []struct {
		kind  string
		rules []Rule
	}{{"ClusterRole", everywhere}, {"Role", own}} {
		text, err := yaml.Marshal(r.rules)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			roles.WriteString("---\n")
		}
		roles.WriteString("apiVersion: rbac.authorization.k8s.io/v1\nkind: " + r.kind + "\nmetadata:\n  name: weft-control\n")
		if r.kind == "Role" {
			roles.WriteString("  namespace: {{ .Release.Namespace }}\n")
		}
		roles.WriteString("  labels:\n    app.kubernetes.io/name: weft-control\n    app.kubernetes.io/part-of: weft\nrules:\n")
		roles.Write(text)
	}
	out["roles.yaml"] = roles.String()
	groups, err := yaml.Marshal(Checked(dec))
	if err != nil {
		return nil, err
	}
	list := "          " + strings.ReplaceAll(strings.TrimSpace(string(groups)), "\n", "\n          ")
	if out["inject.yaml"], err = injecting(); err != nil {
		return nil, err
	}
	out["validate.yaml"] = strings.ReplaceAll(validate, "GROUPS", list)
	return out, nil
}

// validate is the webhook that objects are shown to before they are stored. While nobody
// answers they are stored without: what is wrong with them is found again by who reads them.
const validate = `# Made of what the code reads: go test ./kube/install -update
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: weft-validate
  labels:
    app.kubernetes.io/name: weft-control
    app.kubernetes.io/part-of: weft
webhooks:
  - name: validate.weft.dev
    clientConfig:
      service:
        name: weft-control
        namespace: {{ .Release.Namespace }}
        path: /validate
        port: 443
    rules:
      - operations:
          - CREATE
          - UPDATE
        apiGroups:
GROUPS
        apiVersions:
          - "*"
        resources:
          - "*"
        scope: "*"
    failurePolicy: Ignore
    sideEffects: None
    timeoutSeconds: 5
    admissionReviewVersions:
      - v1
`
