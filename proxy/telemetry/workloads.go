package telemetry

import (
	"net/netip"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftmesh/weft/proxy/filter"
)

// Workloads are those that istiod tells of unasked, by address
// (istio.workload.Workload), for peers that do not tell of themselves. It is for
// one goroutine.
type Workloads struct {
	peers *Directory
	by    map[string][]netip.Addr // by the resource's name
}

// NewWorkloads makes an empty set whose members a Directory learns.
func NewWorkloads(d *Directory) *Workloads {
	return &Workloads{peers: d, by: map[string][]netip.Addr{}}
}

// Set takes a resource in; raw is the message.
func (w *Workloads) Set(name string, raw []byte) error {
	ref, addresses, err := readWorkload(raw)
	if err != nil {
		return err
	}
	w.Remove(name)
	w.by[name] = addresses
	for _, a := range addresses {
		w.peers.Provide(a, ref)
	}
	return nil
}

// Remove forgets a resource.
func (w *Workloads) Remove(name string) {
	for _, a := range w.by[name] {
		w.peers.Provide(a, filter.WorkloadRef{})
	}
	delete(w.by, name)
}

// Fields of istio.workload.Workload that are read (pkg/workloadapi/workload.proto).
const (
	fieldNamespace = 2
	fieldAddresses = 3
	fieldAccount   = 7
	fieldService   = 10
	fieldRevision  = 11
	fieldName      = 13
	fieldCluster   = 18
)

// readWorkload reads the fields that metrics have labels for.
func readWorkload(b []byte) (ref filter.WorkloadRef, addresses []netip.Addr, err error) {
	texts := map[protowire.Number]*string{
		fieldNamespace: &ref.Namespace, fieldAccount: &ref.Account, fieldService: &ref.Service, fieldRevision: &ref.Revision,
		fieldName: &ref.Name, fieldCluster: &ref.Cluster,
	}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return ref, nil, protowire.ParseError(size)
		}
		b = b[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
				return ref, nil, protowire.ParseError(size)
			}
			b = b[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return ref, nil, protowire.ParseError(size)
		}
		b = b[size:]
		if to := texts[n]; to != nil && utf8.Valid(v) {
			*to = string(v)
		}
		if a, ok := netip.AddrFromSlice(v); ok && n == fieldAddresses {
			addresses = append(addresses, a.Unmap())
		}
	}
	return ref, addresses, nil
}
