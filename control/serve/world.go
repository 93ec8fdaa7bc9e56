package serve

import (
	"slices"
	"strconv"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// world is the state-of-the-world variant on one stream: each response of a
// type holds everything of it that the consumer subscribes to.
type world struct {
	session Session
	send    func(*discoverypb.DiscoveryResponse) error
	types   map[string]*worldType
	nonce   uint64
	settled uint64
}

type worldType struct {
	// names asked for; none: all (listeners and clusters only).
	names    []string
	answered bool
	asked    bool // the names changed since the last response
	// nonce of the last response; busy until it is answered.
	nonce string
	busy  bool
	// sent is the concatenation of names and versions last sent.
	sent      string
	sentNames []string
}

func newWorld(s Session, send func(*discoverypb.DiscoveryResponse) error) *world {
	return &world{session: s, send: send, types: map[string]*worldType{}}
}

func (w *world) timer() <-chan struct{} { return nil }

// request implements protocol.
func (w *world) request(r *discoverypb.DiscoveryRequest) error {
	t := w.types[r.GetTypeUrl()]
	if t == nil {
		t = &worldType{asked: true}
		w.types[r.GetTypeUrl()] = t
	}
	if n := r.GetResponseNonce(); n != "" {
		if n != t.nonce {
			return nil // stale
		}
		w.answer(r, t)
	}
	names := slices.Clone(r.GetResourceNames())
	slices.Sort(names)
	if !slices.Equal(names, t.names) {
		t.names, t.asked = names, true
	}
	return nil
}

// answer takes an ACK or NACK; a further request with the same nonce only
// changes the names.
func (w *world) answer(r *discoverypb.DiscoveryRequest, t *worldType) {
	if !t.busy {
		return
	}
	t.busy = false
	report := Report{Kind: Acked, Type: r.GetTypeUrl(), Names: t.sentNames}
	if r.GetErrorDetail() != nil {
		report.Kind, report.Error = Rejected, r.GetErrorDetail().GetMessage()
	}
	w.session.Report(report)
}

// pump implements protocol.
func (w *world) pump(s *State) error {
	busy := false
	for _, url := range ranked(w.types) {
		t := w.types[url]
		if !t.busy {
			if err := w.flush(s, url, t); err != nil {
				return err
			}
		}
		busy = busy || t.busy
	}
	if !busy && s.Version != w.settled {
		w.settled = s.Version
		w.session.Report(Report{Kind: Settled, Version: s.Version})
	}
	return nil
}

func (t *worldType) pick(url string, set *Set) []*Resource {
	if len(t.names) == 0 || slices.Contains(t.names, "*") {
		if url == wire.TypeListener || url == wire.TypeCluster {
			return set.List()
		}
		return nil
	}
	var out []*Resource
	for _, name := range t.names {
		if r := set.Get(name); r != nil {
			out = append(out, r)
		}
	}
	return out
}

func (w *world) flush(s *State, url string, t *worldType) error {
	list := t.pick(url, s.Set(url))
	var sig []byte
	for _, r := range list {
		sig = append(append(append(append(sig, r.Name...), 0), r.Version...), 0)
	}
	if t.answered && !t.asked && string(sig) == t.sent {
		return nil
	}
	whole := url == wire.TypeListener || url == wire.TypeCluster
	if len(list) == 0 && !whole && string(sig) == t.sent {
		t.asked = false
		return nil // nothing to say about names that do not exist
	}
	w.nonce++
	resp := &discoverypb.DiscoveryResponse{
		TypeUrl:     url,
		VersionInfo: strconv.FormatUint(s.Version, 10),
		Nonce:       strconv.FormatUint(w.nonce, 10),
		Resources:   make([]*anypb.Any, 0, len(list)),
	}
	report := Report{Kind: Sent, Type: url, Version: s.Version}
	for _, r := range list {
		resp.Resources = append(resp.Resources, r.Body)
		report.Names = append(report.Names, r.Name)
		report.Bytes += len(r.Body.GetValue())
	}
	t.answered, t.asked, t.busy, t.nonce = true, false, true, resp.GetNonce()
	t.sent, t.sentNames = string(sig), report.Names
	if err := w.send(resp); err != nil {
		return err
	}
	w.session.Report(report)
	return nil
}
