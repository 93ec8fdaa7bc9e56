// Package check asks a Kubernetes cluster whether a mesh can be installed there, and whether
// one that is installed works. Each check has a name, by which it can be left out, and what
// fails has a remedy.
//
// It changes nothing: what it has to try it tries as a dry run.
package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/kube/install"
	"github.com/weftmesh/weft/kube/objects"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Verdict is how a check ends.
type Verdict string

// The verdicts.
const (
	Good Verdict = "ok"
	Warn Verdict = "warning"
	Bad  Verdict = "error"
	// Skipped: it could not be tried, and says why.
	Skipped Verdict = "skipped"
)

// Result is what came of a check.
type Result struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Message says what was found, Remedy what to do about it.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Options are what is checked.
type Options struct {
	Client *objects.Client
	// Install is what is to be installed, or is.
	Install install.Options
	// Definitions are those of the kinds that Weft reads.
	Definitions []*unstructured.Unstructured
	// Skip are names of checks that are left out.
	Skip []string
	// Now is the time by which certificates are judged; nil: the clock's.
	Now func() time.Time
}

// a check looks at one thing. It answers with its results, which need no name.
type check struct {
	name string
	run  func(context.Context, *Options) []Result
}

// before are the checks of a cluster, after those of a mesh in it.
var (
	before = []check{
		{"api-server", apiServer}, {"kubernetes-version", version}, {"permissions", permissions}, {"definitions", definitions}, {"other-meshes", others},
	}
	after = []check{
		{"control-plane", controlPlane}, {"leader", leader}, {"webhook-certificates", webhookCertificates}, {"webhook-reachable", webhookReachable},
		{"root-published", rootPublished}, {"certificates", certificates},
	}
)

// Names are the names of all checks.
func Names() (out []string) {
	for _, c := range slices.Concat(before, after) {
		out = append(out, c.name)
	}
	return out
}

// Before checks whether a mesh can be installed.
func Before(ctx context.Context, o Options) []Result { return o.run(ctx, before) }

// After checks whether the mesh that is installed works.
func After(ctx context.Context, o Options) []Result { return o.run(ctx, after) }

// Installed tells whether a control plane is in the namespace.
func Installed(ctx context.Context, o Options) bool {
	_, err := o.get(ctx, "apps/v1", "Deployment", o.namespace(), install.Name)
	return err == nil
}

func (o Options) run(ctx context.Context, list []check) []Result {
	if o.Now == nil {
		o.Now = time.Now
	}
	var out []Result
	for _, c := range list {
		if slices.Contains(o.Skip, c.name) {
			continue
		}
		for _, r := range c.run(ctx, &o) {
			r.Name = c.name
			out = append(out, r)
		}
		if c.name == "api-server" && out[len(out)-1].Verdict == Bad {
			break // nothing else can be asked
		}
	}
	return out
}

func (o *Options) namespace() string {
	if o.Install.Namespace == "" {
		return install.DefaultNamespace
	}
	return o.Install.Namespace
}

func (o *Options) get(ctx context.Context, apiVersion, kind, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetNamespace(namespace)
	u.SetName(name)
	return o.Client.Get(ctx, u)
}

func ok(format string, args ...any) []Result {
	return []Result{{Verdict: Good, Message: fmt.Sprintf(format, args...)}}
}

func result(v Verdict, remedy, format string, args ...any) []Result {
	return []Result{{Verdict: v, Remedy: remedy, Message: fmt.Sprintf(format, args...)}}
}

// few joins the first of a list.
func few(list []string) string {
	const most = 8
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}
