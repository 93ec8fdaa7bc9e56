// Package validate answers a Kubernetes API server that asks whether objects may be stored:
// those that Weft could not use are refused, with the Findings that `weft analyze` has of
// them, and what it only warns of is shown to who stores them.
//
// An object is judged by itself. What does not fit together with others is not refused, since
// objects come in any order: it is in the status, and `weft analyze` finds it. What cannot be
// judged (a request that is none, a kind that is not known) is let in: who reads it says what
// is wrong.
package validate

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Path is where the webhook's configuration has the API server ask.
const Path = "/validate"

// largest is how long a request may be, in bytes: an API server's own limit of an object is 3 MiB,
// and there may be two.
const largest = 8 << 20

// Bounds of what is shown of warnings: API servers cut them.
const (
	mostWarnings   = 10
	longestWarning = 240
)

// Handler answers with what a decoder finds.
func Handler(dec *document.Decoder, log *slog.Logger) http.Handler {
	dec = dec.ForAnalysis()
	log = log.With("component", "validate")
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
		review.Response = Judge(dec, review.Request)
		review.Response.UID = review.Request.UID
		if !review.Response.Allowed {
			log.Info("refused", "kind", review.Request.Kind.Kind, "namespace", review.Request.Namespace, "name", review.Request.Name, "by", review.Request.UserInfo.Username)
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review) // the server that has gone asks again
	})
}

// Judge says whether an object may be stored.
func Judge(dec *document.Decoder, r *admission.AdmissionRequest) *admission.AdmissionResponse {
	out := &admission.AdmissionResponse{Allowed: true}
	if r.Operation == admission.Delete || len(r.Object.Raw) == 0 || goes(r.Object.Raw) {
		return out
	}
	var faults []string
	bad := false
	for _, d := range dec.Decode(r.Object.Raw, document.Input{}) {
		bad = bad || d.Bad
		for _, f := range d.Findings {
			text := said(f)
			switch {
			case f.Severity == model.Error:
				faults = append(faults, text)
			case f.Severity == model.Warning && len(out.Warnings) < mostWarnings:
				out.Warnings = append(out.Warnings, text[:min(len(text), longestWarning)])
			}
		}
	}
	if bad {
		out.Allowed = false
		out.Result = &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: strings.Join(faults, "; ")}
	}
	return out
}

// goes tells whether an object is about to be removed: then only its finalizers change.
func goes(raw []byte) bool {
	var o metav1.PartialObjectMetadata
	return json.Unmarshal(raw, &o) == nil && o.DeletionTimestamp != nil
}

// said is a Finding, with its code, about the object that everybody knows to be spoken of.
func said(f model.Finding) string {
	code := f.Code
	f.Object, f.Origin = model.Key{}, model.Origin{}
	return code + " " + f.String()
}
