package config

import (
	"cmp"
	"encoding/hex"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/xds"
)

// Record is what became of a resource, for /config_dump and status.
type Record struct {
	Type, Name string
	// Version and Body are those of the last good one; empty and nil when
	// there was none yet.
	Version string
	Body    *anypb.Any
	Updated time.Time
	// Rejected is why a later one was refused, with its version and time; "": it was not.
	Rejected, RejectedVersion string
	RejectedAt                time.Time
	// Static: it is the bootstrap's.
	Static bool
}

type recordKey struct{ typeURL, name string }

// record remembers an update.
func (s *Store) record(u xds.Update, rejected []xds.Rejection) {
	bad := make(map[string]error, len(rejected))
	for _, r := range rejected {
		bad[r.Name] = r.Err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range u.Set {
		k := recordKey{u.Type, r.Name}
		old := s.records[k]
		if err := bad[r.Name]; err != nil {
			next := Record{Type: u.Type, Name: r.Name}
			if old != nil {
				next = *old
			}
			next.Rejected, next.RejectedVersion, next.RejectedAt = err.Error(), r.Version, now
			s.records[k] = &next
			continue
		}
		s.records[k] = &Record{Type: u.Type, Name: r.Name, Version: r.Version, Body: shown(r.Body), Updated: now}
	}
	for _, n := range u.Removed {
		delete(s.records, recordKey{u.Type, n})
	}
}

// shown is a body as it may be shown: without private keys.
func shown(body *anypb.Any) *anypb.Any {
	m := &tlsv3.Secret{}
	if !body.MessageIs(m) {
		return body
	}
	if err := body.UnmarshalTo(m); err != nil {
		return nil
	}
	out, err := anypb.New(withoutKey(m))
	if err != nil {
		return nil
	}
	return out
}

// Records are all resources, sorted by type and name; they must not be changed.
func (s *Store) Records() []*Record {
	s.mu.Lock()
	out := make([]*Record, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, r)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// contentHash identifies the content of a message.
func contentHash(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: a decoded message does not encode: " + err.Error())
	}
	h := xxhash.New()
	_, _ = h.Write(b) // never fails
	return hex.EncodeToString(h.Sum(nil))
}
