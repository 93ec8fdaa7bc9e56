package model

// APIFault says why a condition of an object is not as it should be: Reason is Gateway
// API's word for it, Message the sentence. The zero value: nothing is wrong.
type APIFault struct{ Reason, Message string }

// Is tells whether there is a fault.
func (f APIFault) Is() bool { return f != APIFault{} }

// APIVerdict is what came of an object of Gateway API when all were seen: what the
// conditions of its status are made of. What proxies have to say is not in it.
type APIVerdict struct {
	// Controller is the name that the object's class gives us.
	Controller                         string
	Accepted, ResolvedRefs, Programmed APIFault
	// Listeners of a Gateway or ListenerSet, in their order.
	Listeners []ListenerVerdict
	// ListenerSets that add listeners to a Gateway, and are accepted.
	ListenerSets int
	// Insecure: the Gateway lets clients in whose certificate is not checked.
	Insecure bool
	// Addresses where a Gateway is served, as far as they are known.
	Addresses []APIAddress
	// Parents of a route that are ours, in their order.
	Parents []ParentVerdict
	// Ancestors of a BackendTLSPolicy: what it is for, and the Gateways that use that.
	Ancestors []ParentVerdict
}

// APIAddress is an address of a Gateway: IPAddress or Hostname, and its value.
type APIAddress struct{ Type, Value string }

// ListenerVerdict is what came of a listener.
type ListenerVerdict struct {
	Name                                           string
	Accepted, ResolvedRefs, Programmed, Conflicted APIFault
	// Overlap names a listener with TLS of the same port whose host names are in part the
	// same; empty: there is none.
	Overlap string
	// Kinds of routes that it takes.
	Kinds []Kind
	// Routes that are attached to it.
	Routes int
}

// ParentVerdict is what came of a route at one of its parents.
type ParentVerdict struct {
	Parent                 APIParent
	Controller             string
	Accepted, ResolvedRefs APIFault
}
