// Package registry is the source of services that live in registries: each Registry object of
// the snapshot is followed by a client of its type (packages below this one), and what it says becomes services
// with inline instances, under the key of a ServiceEntry.
//
// Stale beats wrong: a registry that cannot be reached changes nothing; a service of which it has no
// instances any more keeps its last ones for a while (model.Registry.Retain); and what was known is saved, so that a
// control plane that starts does not take services from proxies. Where several registries have a service, those of the best priority that
// have live instances make it; of one priority all together.
//
// Clients say what there is and judge nothing: selecting, naming, relabelling, merging and all of the state are here, and belong to Run's goroutine.
package registry

import (
	"context"
	"log/slog"

	"github.com/weftmesh/weft/control/model"
)

// Name is the source's name.
const Name = "registry"

// Codes of Findings.
const (
	CodeUnreachable = "WEFT0150"
	CodeRetained    = "WEFT0151"
	CodeUnusable    = "WEFT0152"
)

// UsualWeight is the weight of an instance that says none.
const UsualWeight = 100

// Instance is one port of one instance of a service, as a registry says it. It is never changed after it was told.
type Instance struct {
	// Address is an IP address; Port where it is served.
	Address string
	Port    uint16
	// Protocol; empty: the registry's.
	Protocol model.Protocol
	// Labels are the metadata.
	Labels map[string]string
	// Weight is relative to UsualWeight; 0: that.
	Weight uint32
	// Off: it is there and takes no traffic: not healthy, disabled.
	Off bool
	// Unusable is why it can take none, which the user is told; "": it can.
	Unusable string `json:",omitempty"`
	Locality model.Locality
}

// Service is what a registry has of one service.
type Service struct {
	// Name is the registry's, unique in it.
	Name string
	// Host, when set, is what the service's host is made of in place of Name.
	Host string
	// Dubbo says what of Dubbo it is; nil: something else.
	Dubbo *Dubbo
	// Instances of it, in any order.
	Instances []Instance
}

// Dubbo names a Dubbo service.
type Dubbo struct{ Interface, Group, Version string }

// String is Slime's and Dubbo's spelling, "interface:group:version".
func (d Dubbo) String() string { return d.Interface + ":" + d.Group + ":" + d.Version }

// Sink is told what a registry has. Its functions block while the control plane is busy, and do
// nothing once the client is to end.
type Sink interface {
	// Service tells of a service as it is now; one without instances may still be there.
	Service(s Service)
	// Complete tells the names of all services that there are; what is not among them is gone. A client calls it once all of
	// them were told since Follow began, and whenever one has gone.
	Complete(names []string)
}

// Client follows one registry.
type Client interface {
	// Follow connects and tells what there is and what changes, until ctx ends or the registry cannot be
	// followed any longer, and says why. It is called again after a while.
	Follow(ctx context.Context, to Sink) error
}

// Maker makes the client of a registry. Its error is one that the user has to correct.
type Maker func(r *model.Registry, log *slog.Logger) (Client, error)
