package v1alpha1

// DubboGroup is the group of DubboAuthorizationPolicy.
const DubboGroup = "dubbo.aeraki.io"

// DubboAuthorizationPolicySpec says who may call what of the Dubbo services of the object's namespace, or of the mesh in
// the root namespace. What any DENY rule matches is refused; else, if there is any ALLOW policy, one of its rules has to match.
type DubboAuthorizationPolicySpec struct {
	// Action is ALLOW (the default) or DENY.
	Action string `json:"action,omitempty"`
	// Rules: any that matches matches. None: never matches (with ALLOW: refuses all).
	Rules []DubboRule `json:"rules,omitempty"`
}

// DubboRule matches when one of From and one of To does; an empty list matches.
type DubboRule struct {
	From []DubboFrom `json:"from,omitempty"`
	To   []DubboTo   `json:"to,omitempty"`
}

// DubboFrom is one kind of caller.
type DubboFrom struct {
	Source *DubboSource `json:"source"`
}

// DubboSource: all lists that are not empty must match. Values are exact, "abc*", "*abc" or "*".
type DubboSource struct {
	// Principals are identities without spiffe://, e.g. cluster.local/ns/default/sa/page.
	Principals    []string `json:"principals,omitempty"`
	NotPrincipals []string `json:"notPrincipals,omitempty"`
	Namespaces    []string `json:"namespaces,omitempty"`
	NotNamespaces []string `json:"notNamespaces,omitempty"`
}

// DubboTo is one kind of call.
type DubboTo struct {
	Operation *DubboOperation `json:"operation"`
}

// DubboOperation: all lists that are not empty must match. Values are as those of a DubboSource.
type DubboOperation struct {
	Interfaces    []string `json:"interfaces,omitempty"`
	NotInterfaces []string `json:"notInterfaces,omitempty"`
	Methods       []string `json:"methods,omitempty"`
	NotMethods    []string `json:"notMethods,omitempty"`
}
