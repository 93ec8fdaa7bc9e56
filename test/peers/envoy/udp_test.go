package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// udpLogFormat is what is compared of sessions.
const udpLogFormat = "%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% flags=%RESPONSE_FLAGS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% " +
	"%PROTOCOL% %ACCESS_LOG_TYPE% session=%DYNAMIC_METADATA(udp.proxy.session)% proxy=%DYNAMIC_METADATA(udp.proxy.proxy)%\n"

// udpListener is a listener with the case's udp_proxy.
func (c *caseFile) udpListener(p place, port int) object {
	log := c.accessLog(p)
	log[0].(object)["typed_config"].(object)["log_format"] = object{"text_format_source": object{"inline_string": c.name + " " + udpLogFormat}}
	filter := object{
		"@type": typeURL + "filters.udp.udp_proxy.v3.UdpProxyConfig", "stat_prefix": c.id, "access_log": log, "proxy_access_log": log,
		"idle_timeout": "3600s", // the default, a minute, passes where the machine is busy
	}
	merge(filter, c.object("udp"))
	addr := address(p.proxy, port)
	addr["socket_address"].(object)["protocol"] = "UDP"
	l := object{"name": c.id, "address": addr, "listener_filters": []any{object{"name": "udp", "typed_config": filter}}}
	merge(l, c.object("listener"))
	return l
}

// gotDatagram is one that an upstream got.
type gotDatagram struct {
	from netip.AddrPort
	text string
}

// udpServer is the part of an upstream that takes datagrams.
type udpServer struct {
	pc *net.UDPConn
	// Guarded by the run's lock.
	got []gotDatagram
}

// listenUDP answers each datagram with the next exchange: a write is a datagram.
func (u *upstream) listenUDP(addr string) error {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	if u.udp.pc, err = net.ListenUDP("udp", a); err != nil {
		return err
	}
	u.r.wg.Go(func() {
		b := make([]byte, 65536)
		for {
			n, from, err := u.udp.pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.r.change(func() { u.udp.got = append(u.udp.got, gotDatagram{from, string(b[:n])}) })
			for _, st := range u.take() {
				switch st.verb {
				case "write":
					_, _ = u.udp.pc.WriteToUDPAddrPort([]byte(st.text), from)
				case "hold":
					gone := false
					u.hold(&gone)
				}
			}
		}
	})
	return nil
}

// write shows what came, by sender in the order of their first datagrams.
func (s *udpServer) write(b *strings.Builder, peer bool) {
	shown := map[netip.AddrPort]bool{}
	for _, first := range s.got {
		if shown[first.from] {
			continue
		}
		shown[first.from] = true
		fmt.Fprintf(b, "session %d\n", len(shown))
		if peer {
			fmt.Fprintf(b, "  from %s\n", first.from.Addr().Unmap())
		}
		for _, d := range s.got {
			if d.from == first.from {
				fmt.Fprintf(b, "  datagram %s\n", showBytes([]byte(d.text)))
			}
		}
	}
}

// udpClient sends datagrams from one address; each write is one.
type udpClient struct {
	r  *run
	s  script
	nc net.Conn
	// Guarded by the run's lock.
	got []string
}

func (c *udpClient) play(t *testing.T) string {
	from := &net.UDPAddr{IP: net.ParseIP(c.r.p.client)}
	if ip := c.s.opt["from"]; ip != "" { // the last byte of another address
		from.IP = net.ParseIP(c.r.p.client[:strings.LastIndexByte(c.r.p.client, '.')+1] + ip)
	}
	var err error
	if c.nc, err = (&net.Dialer{LocalAddr: from}).Dial("udp", net.JoinHostPort(c.r.p.proxy, strconv.Itoa(listenPort+c.r.index))); err != nil {
		t.Errorf("%s: %v", c.r.c.name, err)
		return ""
	}
	defer c.nc.Close()
	c.r.wg.Go(c.read)
	for _, st := range c.s.steps {
		switch st.verb {
		case "write":
			_, _ = c.nc.Write([]byte(st.text))
		case "wait":
			n, _ := strconv.Atoi(st.args[0])
			c.r.until("client: wait "+st.text, func() bool { return len(c.got) >= n })
		case "stat":
			c.stat(st)
		default:
			c.r.shared(t, st)
		}
	}
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	var b strings.Builder
	for _, d := range c.got {
		fmt.Fprintf(&b, "datagram %s\n", showBytes([]byte(d)))
	}
	return b.String()
}

func (c *udpClient) read() {
	b := make([]byte, 65536)
	for {
		n, err := c.nc.Read(b)
		if err != nil {
			return
		}
		c.r.change(func() { c.got = append(c.got, string(b[:n])) })
	}
}

// stat waits until a statistic has a value: "stat udp NAME N" is one of the
// proxy of datagrams, "stat listener NAME N", "stat UPSTREAM NAME N" of a cluster.
func (c *udpClient) stat(st step) {
	r := c.r
	if len(st.args) != 3 {
		r.change(func() { r.late = append(r.late, "client: stat wants three words: "+st.text) })
		return
	}
	prefix := "cluster." + r.c.cluster(st.args[0])
	switch st.args[0] {
	case "udp":
		prefix = "udp." + r.c.id
	case "listener":
		prefix = "LISTENER"
	}
	r.stat(prefix+"."+st.args[1], st.args[2])
}
