package tunnel

import (
	"errors"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// The tunnel as the user of its exchange. All of this happens inside the lane.

var _ pool.User = (*conn)(nil)

// OnReady implements pool.User.
func (k *conn) OnReady() { k.x.Headers(&k.req, false) }

// OnFail implements pool.User.
func (k *conn) OnFail(f pool.Failure) {
	err := &Error{Err: f.Err}
	switch f.Kind {
	case pool.FailOverflow:
		err.Overflow = true
	case pool.FailTimeout:
		err.Timeout = true
		k.host.Report(cluster.ConnectTimedOut)
	case pool.FailLocal:
	default:
		err.Connect = true
		k.host.Report(cluster.ConnectFailed)
	}
	if err.Err == nil {
		err.Err = errors.New("no connection")
	}
	k.fail(err)
}

// OnInterim implements pool.User.
func (k *conn) OnInterim(h *filter.Headers) { pool.PutHeaders(h) }

// OnHeaders implements pool.User.
func (k *conn) OnHeaders(h *filter.Headers, end bool) {
	k.x.Cluster.Stats().Status(h.Status)
	k.host.ReportStatus(h.Status)
	k.answered(h)
	pool.PutHeaders(h)
	if end && k.granted {
		k.succeed()
		k.peerEnded()
	}
}

// OnUpgraded implements pool.User.
func (k *conn) OnUpgraded() {
	if k.granted {
		k.succeed()
	}
}

// OnData implements pool.User.
func (k *conn) OnData(b []byte, end bool) {
	if k.closed || !k.granted {
		return
	}
	if len(b) > 0 {
		k.owed += len(b)
		// What was kept goes first, also when who was to read it is bound or reads again
		// already: that takes effect as an event of its own, behind others.
		if k.h == nil || k.paused || len(k.early) > 0 {
			k.early = append(k.early, b...)
		} else {
			k.h.OnData(b)
			k.giveBack()
		}
	}
	if end {
		k.peerEnded()
	}
}

// OnTrailers implements pool.User.
func (k *conn) OnTrailers(h *filter.Headers) {
	if k.cfg.KeepTrailers && k.granted {
		k.info.SetObject(filter.Shared{Key: StateTrailers, Value: propagated(h)})
	}
	pool.PutHeaders(h)
	k.peerEnded()
}

// OnReset implements pool.User.
func (k *conn) OnReset(codec.ResetCode) {
	k.host.Report(cluster.RemoteReset)
	if k.done != nil {
		k.fail(&Error{Err: errors.New("the proxy has reset the request for a tunnel")})
		return
	}
	k.broken = true
	k.end(errReset)
}

// OnBlocked implements pool.User.
func (k *conn) OnBlocked(on bool) {
	k.blocked = on
	if !on && k.h != nil && !k.closed {
		k.h.OnDrain()
	}
}

var errReset = errors.New("the tunnel was reset")
