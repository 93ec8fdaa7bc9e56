// Package webhook answers a Kubernetes API server that asks what is to become of a new pod:
// the patch that injects it (kube/inject), or nothing.
//
// It speaks AdmissionReview v1, over whatever serves its handler; API servers want TLS. A
// pod that is not to be injected is let in as it is, one that cannot be injected as it
// asks is refused with the reason, and so is what cannot be read: a pod that runs without
// its proxy by mistake would be reachable past all policies. What an annotation does not
// do is a warning, which kubectl shows. It keeps nothing and asks nobody but the API
// server's own request.
package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"
	admission "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/kube/inject"
)

// Path is where the webhook's configuration has the API server ask; below it are variables
// of the proxy, NAME/VALUE, as Istio has them: /inject/cluster/east/net/blue.
const Path = "/inject"

// Options of a Handler. Only Injector is needed.
type Options struct {
	// Injector is asked for each pod.
	Injector func() *inject.Injector
	// Namespace says what is known of a namespace; nil: its name.
	Namespace func(name string) inject.Namespace
	// Config is what ProxyConfig resources say of a pod; nil: there are none.
	Config func(namespace string, labels map[string]string) *meshpb.ProxyConfig
	Log    *slog.Logger
}

// largest is how long a request may be, in bytes: an API server's own limit of an object is 3 MiB.
const largest = 8 << 20

// Bounds of what is shown of warnings: API servers cut them.
const (
	mostWarnings   = 10
	longestWarning = 240
)

// Handler answers.
func Handler(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		var review admission.AdmissionReview
		if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("want an AdmissionReview (admission.k8s.io/v1) with a request: %v", err), http.StatusBadRequest)
			return
		}
		review.Response = o.judge(review.Request, r.URL.Path)
		review.Response.UID = review.Request.UID
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(&review); err != nil {
			o.Log.Debug("an answer was not taken", "error", err)
		}
	})
}

// judge says what is to become of a pod.
func (o Options) judge(r *admission.AdmissionRequest, path string) *admission.AdmissionResponse {
	if r.Operation != admission.Create || r.Kind.Kind != "Pod" || r.Kind.Group != "" || r.SubResource != "" {
		// A configuration that asks about more is none of ours.
		return &admission.AdmissionResponse{Allowed: true}
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(r.Object.Raw, pod); err != nil {
		return refuse(fmt.Errorf("the pod cannot be read: %w", err))
	}
	log := o.Log.With("namespace", r.Namespace, "pod", pod.Name+pod.GenerateName)
	ns := inject.Namespace{Name: r.Namespace}
	if o.Namespace != nil {
		ns = o.Namespace(r.Namespace)
	}
	q := inject.Request{Pod: pod, Namespace: ns, Env: variables(path)}
	if o.Config != nil {
		q.Config = o.Config(r.Namespace, pod.Labels)
	}
	got, err := o.Injector().Inject(q)
	if err != nil {
		log.Warn("a pod is refused", "error", err)
		return refuse(err)
	}
	out := &admission.AdmissionResponse{Allowed: true, Warnings: warnings(got.Findings)}
	if got.Pod == nil {
		log.Info("a pod is not injected", "reason", got.Reason)
		return out
	}
	ops, err := inject.Patch(pod, got.Pod)
	if err != nil {
		return refuse(err)
	}
	if out.Patch, err = json.Marshal(ops); err != nil {
		return refuse(err)
	}
	kind := admission.PatchTypeJSONPatch
	out.PatchType = &kind
	log.Info("a pod is injected")
	return out
}

func refuse(err error) *admission.AdmissionResponse {
	return &admission.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: inject.CodeRefused + " " + err.Error(),
	}}
}

// warnings are the worst first, as many as are shown.
func warnings(list []model.Finding) (out []string) {
	for _, f := range list {
		if f.Severity != model.Warning {
			continue
		}
		text := f.Code + " " + f.String()
		if len(out) < mostWarnings {
			out = append(out, text[:min(len(text), longestWarning)])
		}
	}
	return out
}

// known are short names of variables.
var known = map[string]string{"cluster": "ISTIO_META_CLUSTER_ID", "net": "ISTIO_META_NETWORK"}

// slash stands for a slash in a value.
const slash = "--slash--"

// variables are what the path says: NAME/VALUE, or :ENV:NAME=VALUE in Istio's older form.
// A name without a value says nothing.
func variables(path string) map[string]string {
	rest, _ := strings.CutPrefix(path, Path)
	rest = strings.Trim(rest, "/")
	var pairs [][2]string
	if strings.HasPrefix(rest, ":ENV:") {
		for part := range strings.SplitSeq(rest[len(":ENV:"):], ":ENV:") {
			if name, value, ok := strings.Cut(part, "="); ok {
				pairs = append(pairs, [2]string{name, value})
			}
		}
	} else {
		words := strings.Split(rest, "/")
		for i := 0; i+1 < len(words); i += 2 {
			pairs = append(pairs, [2]string{words[i], strings.ReplaceAll(words[i+1], slash, "/")})
		}
	}
	out := map[string]string{}
	for _, p := range pairs {
		if p[0] == "" {
			continue
		}
		name, ok := known[p[0]]
		if !ok {
			name = strings.ToUpper(p[0])
		}
		out[name] = p[1]
	}
	return out
}
