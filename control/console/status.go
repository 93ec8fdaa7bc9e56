package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
)

// ObjectStatus is the status of an object, in the form that Istio's kinds have it.
type ObjectStatus struct {
	Conditions []Condition `json:"conditions"`
	// Messages are its Findings.
	Messages []Message `json:"validationMessages,omitempty"`
	// Version of the mesh with which the object took its form.
	Version uint64 `json:"meshVersion,omitempty"`
	// Reach is who has it; absent for kinds that configure no proxy.
	Reach *fleet.Reach `json:"proxies,omitempty"`
	// SlimeStatus is a ServiceFence's or a SmartLimiter's.
	SlimeStatus
	// GatewayAPI is the status that an object of Gateway API has by that: `status` as
	// Kubernetes would show it. Conditions above sum it up.
	GatewayAPI *gwstatus.Status `json:"gatewayAPI,omitempty"`
}

// Condition is one of a status: "True", "False" or "Unknown".
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// Since is when the status became what it is, RFC 3339.
	Since string `json:"lastTransitionTime,omitempty"`
	// event is when what made it so happened; zero: it is not known.
	event time.Time
}

// Message is a Finding as Istio's status has it.
type Message struct {
	Type struct {
		// Code is Istio's where there is one that says the same, else Weft's.
		Code string `json:"code"`
		Name string `json:"name"`
	} `json:"type"`
	Level string `json:"level"`
	Text  string `json:"message"`
}

// condition makes one; good says whether the status is as it should be.
func condition(kind string, good bool, reason, message string) Condition {
	status := "True"
	if good == (kind == finding.Conflicted) {
		status = "False"
	}
	return Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// statusOf makes the status of an object. in says whether a version of it is in force.
func statusOf(in bool, findings []model.Finding, reach *fleet.Reach) *ObjectStatus {
	by := map[string][]string{}
	lastGood := false
	out := &ObjectStatus{Reach: reach}
	for _, f := range findings {
		if c := finding.Condition(f); c != "" {
			by[c] = append(by[c], said(f))
		}
		lastGood = lastGood || f.Code == lastGoodCode
		out.Messages = append(out.Messages, message(f))
	}
	accepted := condition(finding.Accepted, true, "Accepted", "")
	switch bad := strings.Join(by[finding.Accepted], "; "); {
	case bad != "" && (lastGood || in):
		accepted = condition(finding.Accepted, false, "LastGoodInForce", "the version before stays in force: "+bad)
	case bad != "" || !in:
		accepted = condition(finding.Accepted, false, "Invalid", bad)
	}
	refs := condition(finding.ResolvedRefs, true, "ResolvedRefs", "")
	if bad := by[finding.ResolvedRefs]; len(bad) > 0 {
		refs = condition(finding.ResolvedRefs, false, "RefNotFound", strings.Join(bad, "; "))
	}
	out.Conditions = append(out.Conditions, accepted, refs)
	if bad := by[finding.Conflicted]; len(bad) > 0 {
		out.Conditions = append(out.Conditions, condition(finding.Conflicted, false, "Conflicted", strings.Join(bad, "; ")))
	}
	if reach != nil {
		out.Conditions = append(out.Conditions, reached(*reach, by[finding.Programmed])...)
	}
	return out
}

// lastGoodCode says that the last good version stays (control/source/document).
const lastGoodCode = "WEFT0114"

// said is a Finding within the status of its object.
func said(f model.Finding) string {
	f.Object, f.Origin = model.Key{}, model.Origin{}
	return f.String()
}

func message(f model.Finding) (m Message) {
	m.Type.Code, m.Type.Name = f.Code, f.Code
	if x := finding.Istio(f); x != "" {
		m.Type.Code = x
	}
	m.Level = strings.ToUpper(f.Severity.String())
	m.Text = said(f)
	return m
}

// reached says how far the proxies are, in Weft's words and in Istio's.
func reached(r fleet.Reach, faults []string) []Condition {
	up := fmt.Sprintf("%d/%d proxies up to date.", r.Programmed, r.Of)
	programmed := condition(finding.Programmed, true, "Programmed", fmt.Sprintf("on %d of %d proxies", r.Programmed, r.Of))
	reconciled := condition(finding.Reconciled, true, "Reconciled", up)
	switch {
	case r.Of == 0:
		programmed.Status, programmed.Reason, programmed.Message = "Unknown", "NoProxy", "no proxy has it in its scope"
	case slices.ContainsFunc(r.Pending, func(p fleet.Pending) bool { return p.Rejected }):
		programmed.Status, programmed.Reason = "False", "Rejected"
	case r.Programmed < r.Of:
		programmed.Status, programmed.Reason = "False", "Pending"
	case len(faults) > 0:
		programmed.Status, programmed.Reason = "False", "Invalid"
	}
	if r.Programmed < r.Of {
		reconciled.Status, reconciled.Reason = "False", "Pending"
	}
	for _, p := range r.Pending {
		faults = append(faults, p.Proxy+" "+p.Why)
	}
	if len(faults) > 0 {
		programmed.Message += ": " + strings.Join(faults, "; ")
	}
	return []Condition{programmed, reconciled}
}
