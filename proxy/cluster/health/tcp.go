package health

import (
	"context"
	"net"
	"time"
)

// maxReceived bounds what is kept of a host that talks without end.
const maxReceived = 64 << 10

type tcpProbe struct {
	s    *Spec
	dial Dial
	nc   net.Conn // kept
}

// Close implements Probe.
func (p *tcpProbe) Close() {
	if p.nc != nil {
		_ = p.nc.Close()
		p.nc = nil
	}
}

// Ask implements Probe.
func (p *tcpProbe) Ask(ctx context.Context) Answer {
	if p.nc != nil && len(p.s.TCP.Receive) == 0 && ended(p.nc) {
		// With nothing to wait for, only this tells that the host has gone.
		p.Close()
		return Answer{Result: NetworkFailed}
	}
	if p.nc == nil {
		nc, err := p.dial(ctx)
		if err != nil {
			return failure(ctx)
		}
		p.nc = nc
	}
	stop := context.AfterFunc(ctx, func() { _ = p.nc.SetDeadline(time.Unix(1, 0)) })
	ok := p.talk()
	if !stop() {
		ok = false
	}
	if !ok {
		p.Close()
		return failure(ctx)
	}
	if p.s.NoReuse {
		p.Close()
	}
	return Answer{Result: Passed}
}

func (p *tcpProbe) talk() bool {
	if len(p.s.TCP.Send) > 0 {
		if _, err := p.nc.Write(p.s.TCP.Send); err != nil {
			return false
		}
	}
	var got []byte
	for !contains(got, p.s.TCP.Receive) && len(got) < maxReceived {
		var buf [4096]byte
		n, err := p.nc.Read(buf[:])
		got = append(got, buf[:n]...)
		if err != nil {
			return contains(got, p.s.TCP.Receive)
		}
	}
	return len(got) < maxReceived
}

// ended tells whether the other side has closed a connection on which nothing is expected.
func ended(nc net.Conn) bool {
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	var b [512]byte
	_, err := nc.Read(b[:])
	_ = nc.SetReadDeadline(time.Time{})
	ne, ok := err.(net.Error) //nolint:errorlint // a timeout is not wrapped
	return err != nil && (!ok || !ne.Timeout())
}
