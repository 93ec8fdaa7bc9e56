package gwstatus

import "strconv"

// The values of a condition.
const (
	yes     = "True"
	no      = "False"
	unknown = "Unknown"
)

// Status is the status of any object of Gateway API: which fields are set depends on
// its kind, and is what the API has for that.
type Status struct {
	Addresses []Address `json:"addresses,omitempty"`
	// AttachedListenerSets is a Gateway's only.
	AttachedListenerSets *int32      `json:"attachedListenerSets,omitempty"`
	Conditions           []Condition `json:"conditions,omitempty"`
	Listeners            []Listener  `json:"listeners,omitempty"`
	// Parents are a route's; not nil for routes.
	Parents []Parent `json:"parents,omitempty"`
	// Ancestors are a policy's.
	Ancestors []Parent `json:"ancestors,omitempty"`
}

// Address is where a Gateway is served.
type Address struct {
	// Type is IPAddress or Hostname.
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Condition is a condition as Kubernetes has it.
type Condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Reason string `json:"reason"`
	// Message is never empty: what is wrong, or that all is well.
	Message string `json:"message"`
	// ObservedGeneration is the generation of the object that the condition is about; 0:
	// the object has none, as in files that nobody has read from a cluster.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// LastTransitionTime is in RFC 3339; whoever keeps the status before fills it in.
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
}

// Listener is the status of a listener.
type Listener struct {
	Name           string      `json:"name"`
	AttachedRoutes int32       `json:"attachedRoutes"`
	SupportedKinds []GroupKind `json:"supportedKinds"`
	Conditions     []Condition `json:"conditions"`
}

// GroupKind names a kind of routes.
type GroupKind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
}

// Parent is what came of a route at one parent, or of a policy at one ancestor: one of
// the two references is set.
type Parent struct {
	ParentRef      *ParentRef  `json:"parentRef,omitempty"`
	AncestorRef    *ParentRef  `json:"ancestorRef,omitempty"`
	ControllerName string      `json:"controllerName"`
	Conditions     []Condition `json:"conditions"`
}

// Ref is the reference that is set.
func (p *Parent) Ref() *ParentRef {
	if p.AncestorRef != nil {
		return p.AncestorRef
	}
	return p.ParentRef
}

// ParentRef names a parent or ancestor. The namespace is always there.
type ParentRef struct {
	Group       string `json:"group"`
	Kind        string `json:"kind"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name"`
	SectionName string `json:"sectionName,omitempty"`
	Port        uint16 `json:"port,omitempty"`
}

// String is "Kind namespace/name section port".
func (r *ParentRef) String() string {
	out := r.Kind + " " + r.Namespace + "/" + r.Name
	if r.SectionName != "" {
		out += " " + r.SectionName
	}
	if r.Port != 0 {
		out += " port " + strconv.Itoa(int(r.Port))
	}
	return out
}

// Each calls f for each condition, with the place where it stands: "", or the listener
// or parent that it is about. It may change them.
func (s *Status) Each(f func(place string, c *Condition)) {
	all := func(place string, list []Condition) {
		for i := range list {
			f(place, &list[i])
		}
	}
	all("", s.Conditions)
	for i := range s.Listeners {
		all("listener "+s.Listeners[i].Name, s.Listeners[i].Conditions)
	}
	for _, list := range [][]Parent{s.Parents, s.Ancestors} {
		for i := range list {
			all(list[i].Ref().String(), list[i].Conditions)
		}
	}
}
