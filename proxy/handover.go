package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/handover"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/relay"
	"github.com/weftmesh/weft/wire"
)

// Handover lets a new process take over from a running one; see the package of
// that name.
type Handover struct {
	// Path of the unix socket where the processes meet; "": they do not.
	Path string
	// DrainTime bounds how long this process goes on after it has handed over;
	// 0: as long as it has connections.
	DrainTime time.Duration
	// ParentShutdown bounds that of the process before; 0: as that was told.
	ParentShutdown time.Duration
}

// beginBound is how long a running proxy may take to hand over what it has.
const beginBound = 30 * time.Second

// generations is a runtime among the processes before and after it.
type generations struct {
	sockets   *handover.Sockets // nil: without handover
	ledger    *handover.Ledger
	inherited *handover.Inheritance // nil: nobody was there
	server    *handover.Server      // nil: without handover
	number    int
	// front ends when this process accepts no more: admin API, DNS and relay.
	front     context.Context //nolint:containedctx // the life of parts that end before the others
	stopFront context.CancelFunc
	fronts    chan struct{}      // one token for each part that has ended
	retired   chan time.Duration // how long the process may go on
	hold      chan struct{}      // closed when the process before reads no datagrams any more
}

// meet finds the process before this one.
func (r *runtime) meet(ctx context.Context) error {
	g := &r.gen
	g.front, g.stopFront = context.WithCancel(r.life)
	g.fronts, g.retired = make(chan struct{}, 3), make(chan time.Duration, 1)
	g.ledger, g.hold = handover.NewLedger(), make(chan struct{})
	if r.opt.Handover.Path == "" {
		return nil
	}
	g.sockets = &handover.Sockets{}
	ctx, cancel := context.WithTimeout(ctx, beginBound)
	defer cancel()
	in, err := handover.Begin(ctx, r.opt.Handover.Path, r.self(), g.sockets)
	if err != nil {
		return err
	}
	if g.inherited = in; in != nil {
		g.number = in.Before.Generation + 1
	}
	g.server = handover.NewServer(handover.Options{
		Path: r.opt.Handover.Path, Sockets: g.sockets, Status: r.self, State: r.warmState, Counts: r.counts,
		Retire: r.retire, Move: r.move, Adopt: r.adopt, Admit: r.admit, Quit: r.quit, Ledger: g.ledger, Log: r.log.With("component", "handover"),
	})
	return nil
}

// self describes this process.
func (r *runtime) self() wire.HandoverStatus {
	st := wire.HandoverStatus{Generation: r.gen.number, Version: r.opt.Version, PID: os.Getpid(), Started: r.start}
	if r.listeners != nil {
		st.Connections = r.busy()
	}
	return st
}

// Names of sockets begin with what they are for.
const (
	forListener = "listener "
	forOutside  = "outside "
	forAdmin    = "admin "
	forDNS      = "dns "
	forRelay    = "relay "
)

// listenInside binds a listener in the network namespace of this process, or
// takes the socket that the process before has bound.
func (r *runtime) listenInside(ctx context.Context, l *listener.Listener, a listener.Address) (net.Listener, error) {
	name := forListener + a.String()
	if l.IPv4Compat {
		name += " and IPv4"
	}
	return r.gen.sockets.Listen(name, func() (net.Listener, error) { return listener.Listen(ctx, l, a) })
}

// listenUDP is listenInside for UDP.
func (r *runtime) listenUDP(ctx context.Context, l *listener.Listener, a listener.Address) (net.PacketConn, error) {
	if r.opt.HostListeners && len(r.opt.Inside) == 0 && a.Addr.Addr().IsUnspecified() {
		// The host's network is the only one: its loopback is what others get, too.
		a.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Addr.Port())
	}
	name := forListener + "udp " + a.String()
	if l.IPv4Compat {
		name += " and IPv4"
	}
	return r.gen.sockets.ListenPacket(name, func() (net.PacketConn, error) { return listener.ListenUDP(ctx, l, a) })
}

func (r *runtime) listenAdmin(ctx context.Context, network, address string) (net.Listener, error) {
	return r.gen.sockets.Listen(forAdmin+address, func() (net.Listener, error) { return admin.Listen(ctx, network, address) })
}

// listenDNS gives the DNS server its sockets.
func (r *runtime) listenDNS(s *dns.Server) {
	var lc net.ListenConfig
	s.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		return r.gen.sockets.Listen(forDNS+network+" "+address, func() (net.Listener, error) { return lc.Listen(ctx, network, address) })
	}
	s.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
		return r.gen.sockets.ListenPacket(forDNS+network+" "+address, func() (net.PacketConn, error) { return lc.ListenPacket(ctx, network, address) })
	}
}

// newRelay carries what programs send past the proxy to the outside.
func (r *runtime) newRelay() *relay.Server {
	var lc net.ListenConfig
	return &relay.Server{
		Addresses: r.opt.Relay, Dialer: r.dialer, Log: r.log.With("component", "relay"),
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return r.gen.sockets.Listen(forRelay+address, func() (net.Listener, error) { return lc.Listen(ctx, network, address) })
		},
	}
}

// carry runs the relay: it takes connections until ctx ends, and what it carries goes on
// as other connections do.
func (r *runtime) carry(ctx context.Context) error {
	err := r.relay.Accept(ctx, r.life)
	r.group.Go(func() error {
		r.relay.Wait()
		return nil
	})
	return err
}

// busy is how many connections the process has.
func (r *runtime) busy() int64 { return r.listeners.Busy() + r.relay.Busy() }

// begin makes the sockets that are not configuration's, and accepts: at once, or
// when there is nothing left to wait for before another process stops.
func (r *runtime) begin() error {
	adm := r.admin()
	if err := adm.Open(r.life); err != nil {
		return err
	}
	if r.names.server != nil {
		if err := r.names.server.Open(r.life); err != nil {
			return err
		}
	}
	if err := r.relay.Open(r.life); err != nil {
		return err
	}
	open := func() {
		r.run(r.listeners.Run)
		for _, part := range []func(context.Context) error{adm.Run, r.names.run, r.carry} {
			r.group.Go(func() error {
				defer func() { r.gen.fronts <- struct{}{} }()
				return part(r.gen.front)
			})
		}
	}
	if r.gen.inherited == nil {
		close(r.gen.hold)
		open()
	}
	if r.gen.server != nil {
		r.group.Go(func() error { return r.succeed(open) })
	}
	return nil
}

// succeed takes over from the process before, and then serves the next.
func (r *runtime) succeed(open func()) error {
	if in := r.gen.inherited; in != nil {
		if !r.warmUp() {
			in.Abandon()
			return nil
		}
		open()
		before := in.Before
		if err := in.Ready(r.gen.server, r.opt.Handover.ParentShutdown); err != nil {
			r.log.Warn("took over from a process that ended meanwhile", "error", err)
		} else {
			r.log.Info("took over", "generation", r.gen.number, "from", before.Version, "pid", before.PID)
		}
		close(r.gen.hold)
	}
	return r.gen.server.Run(r.life, r.told)
}

// warmUp waits until this process can do all that the one before does. false:
// it is told to end before that.
func (r *runtime) warmUp() bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !r.isWarm() {
		select {
		case <-tick.C:
		case <-r.life.Done():
			return false
		}
	}
	return true
}

// isWarm tells whether all listeners are live; and if the process before has
// sockets that this one has no listener for, that this is what is wanted.
func (r *runtime) isWarm() bool {
	if !r.store.Live() {
		return false
	}
	for _, name := range r.gen.sockets.Unclaimed() {
		if !strings.HasPrefix(name, forListener) && !strings.HasPrefix(name, forOutside) || r.conn == nil {
			continue
		}
		if !r.sawListeners.Load() {
			return false
		}
		for _, rec := range r.store.Records() {
			if rec.Type == wire.TypeListener && rec.Rejected != "" {
				return false // the process before may be able to
			}
		}
	}
	return true
}

// retire is asked for by the process that accepts now.
func (r *runtime) retire(bound time.Duration) {
	r.listeners.Retire(r.give)
	r.gen.stopFront()
	for range cap(r.gen.fronts) {
		<-r.gen.fronts
	}
	if own := r.opt.Handover.DrainTime; bound == 0 || own != 0 && own < bound {
		bound = own
	}
	r.gen.retired <- bound
}

// move gives sessions of datagrams to the process that accepts now; nothing reads the
// sockets of listeners meanwhile, so that what arrives waits for it.
func (r *runtime) move(give func(name string, state []byte, fd int) error) {
	r.listeners.MoveSessions(func(address string, state []byte, up *net.UDPConn) {
		raw, err := up.SyscallConn()
		var gerr error
		if err == nil {
			err = raw.Control(func(fd uintptr) { gerr = give(address, state, int(fd)) })
		}
		if err = errors.Join(err, gerr); err != nil {
			r.log.Warn("a session of datagrams is lost", "listener", address, "error", err)
		}
	})
}

// adopt goes on with a session of the process before.
func (r *runtime) adopt(address string, state []byte, f *os.File) {
	defer f.Close()
	pc, err := net.FilePacketConn(f)
	if err == nil {
		uc, ok := pc.(*net.UDPConn)
		if !ok {
			_ = pc.Close()
			r.log.Warn("a session of datagrams came without a UDP socket", "listener", address)
			return
		}
		err = r.listeners.AdoptSession(address, state, uc)
	}
	if err != nil {
		r.log.Info("a session of datagrams does not go on", "listener", address, "reason", err)
	}
}

// give sends an idle connection to the process that accepts now.
func (r *runtime) give(f *os.File, c listener.Moved) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return r.gen.server.Give(f, body)
}

// admit takes a connection of a process before.
func (r *runtime) admit(f *os.File, body json.RawMessage) {
	var c listener.Moved
	if err := json.Unmarshal(body, &c); err != nil {
		f.Close()
		r.log.Error("a connection of the process before is not understood, and closed", "error", err)
		return
	}
	if err := r.listeners.Admit(f, c); err != nil {
		r.log.Warn("a connection of the process before is closed", "error", err)
	}
}

// outlast lets a process that has handed over go on while it has connections.
func (r *runtime) outlast(ctx context.Context, bound time.Duration) {
	var over <-chan time.Time
	if bound > 0 {
		t := time.NewTimer(bound)
		defer t.Stop()
		over = t.C
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for r.busy() > 0 {
		select {
		case <-tick.C:
			continue
		case <-r.life.Done():
		case <-over:
			r.log.Warn("the drain time is over", "connections", r.busy())
			r.drain()
		case <-ctx.Done():
			r.drain()
		}
		return
	}
	r.log.Info("the last connection has ended")
}

// Names of the warm state.
const (
	statePeers = "peers"
	stateHosts = "hosts"
)

// warmState is what a successor would have to learn again.
func (r *runtime) warmState() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, v := range map[string]any{statePeers: r.observe.peers.Known(), stateHosts: r.names.known()} {
		raw, err := json.Marshal(v)
		if err != nil {
			r.log.Error("warm state not handed over", "state", name, "error", err)
			continue
		}
		out[name] = raw
	}
	return out
}

// restore takes the warm state over, as far as it is understood.
func (r *runtime) restore() {
	in := r.gen.inherited
	if in == nil {
		return
	}
	var peers map[string]filter.WorkloadRef
	var hosts map[string]dns.Host
	for name, v := range map[string]any{statePeers: &peers, stateHosts: &hosts} {
		if err := json.Unmarshal(in.State[name], v); err != nil {
			r.log.Info("warm state of the process before is not understood, and will be learnt again", "state", name, "error", err)
		}
	}
	r.observe.peers.Restore(peers)
	r.names.restore(hosts)
}

// counts are all statistics, for the successor.
func (r *runtime) counts() handover.Counts {
	var c handover.Counts
	r.eachStat(func(scope, name, stat string, value uint64, gauge bool) {
		if value != 0 || gauge {
			c.Stats = append(c.Stats, handover.Stat{Scope: scope, Name: name, Stat: stat, Value: int64(value), Gauge: gauge})
		}
	})
	families, err := r.observe.standard.Gather()
	if err != nil {
		r.log.Warn("metrics are not handed over whole", "error", err)
	}
	c.Series = handover.SeriesOf(families)
	return c
}

// Values of server.state, Envoy's.
const (
	stateLive         = 0
	stateDraining     = 1
	stateInitializing = 3
)

// serverStats are Envoy's about the process.
func (r *runtime) serverStats(visit func(stat string, value uint64)) {
	own, before := uint64(max(r.listeners.Busy(), 0)), uint64(0)
	if r.gen.server != nil {
		for _, d := range r.gen.server.Before() {
			before += uint64(max(d.Connections, 0))
		}
	}
	visit("live", 1)
	state := stateLive
	switch ok, _ := r.ready(); {
	case r.failing.Load():
		state = stateDraining
	case !ok:
		state = stateInitializing
	}
	visit("state", uint64(state))
	visit("uptime", uint64(time.Since(r.start)/time.Second))
	visit("hot_restart_epoch", uint64(r.gen.number))
	visit("hot_restart_generation", uint64(r.gen.number)+1)
	visit("parent_connections", before)
	visit("total_connections", own+before)
}
