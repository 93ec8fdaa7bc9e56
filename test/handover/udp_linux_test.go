package handover

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// udpServer gives back what it gets, and knows who has asked.
type udpServer struct {
	pc    *net.UDPConn
	mu    sync.Mutex
	peers map[string]int
}

func newUDPServer(t *testing.T) *udpServer {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &udpServer{pc: pc, peers: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.peers[from.String()]++
			s.mu.Unlock()
			_, _ = pc.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return s
}

// udpClient has several datagrams under way at any time, until over; it returns what
// was lost or came twice or in another order.
func udpClient(addr string, answered *atomic.Uint64, over <-chan struct{}) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	const window = 8
	sent, got := 0, 0
	b := make([]byte, 2048)
	for stop := false; !stop || got < sent; {
		select {
		case <-over:
			stop = true
		default:
		}
		for !stop && sent < got+window {
			if _, err := fmt.Fprintf(c, "%d", sent); err != nil {
				return err
			}
			sent++
		}
		if got == sent {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(b)
		if err != nil {
			return fmt.Errorf("answer %d of %d: %w", got, sent, err)
		}
		if want := fmt.Sprint(got); string(b[:n]) != want {
			return fmt.Errorf("got answer %s, want %s", b[:n], want)
		}
		got++
		answered.Add(1)
	}
	return nil
}

// TestSessionsMove: sessions of datagrams go on in the new process as if nothing
// had been: each keeps the address that the server sees, and none of what is under way
// is lost, doubled or overtaken.
func TestSessionsMove(t *testing.T) {
	const clients, upgrades = 5, 3
	srv := newUDPServer(t)
	s := newSite(t, newBackends(t))
	host, port, _ := net.SplitHostPort(s.tcp)
	up := srv.pc.LocalAddr().(*net.UDPAddr)
	_, admin, _ := net.SplitHostPort(s.admin)
	text := fmt.Sprintf(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}
static_resources:
  listeners:
  - name: datagrams
    address: {socket_address: {protocol: UDP, address: %s, port_value: %s}}
    listener_filters:
    - name: udp
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: d, cluster: up}
  clusters:
  - name: up
    type: STATIC
    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`, admin, host, port, up.Port)
	if err := os.WriteFile(s.bootstrap, []byte(strings.TrimSpace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.listens = nil
	s.start(s.bootstrap)
	s.generation(0)
	var answered atomic.Uint64
	over := make(chan struct{})
	results := make(chan error, clients)
	for range clients {
		go func() { results <- udpClient(s.tcp, &answered, over) }()
	}
	more := func() {
		t.Helper()
		from := answered.Load()
		s.until("clients go on being answered", func() bool { return answered.Load() >= from+500 })
	}
	more()
	for i := range upgrades {
		s.start(s.bootstrap)
		s.generation(i + 1)
		<-s.procs[i].done // nothing keeps it
		more()
	}
	close(over)
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	srv.mu.Lock()
	if len(srv.peers) != clients {
		t.Errorf("the server saw %d addresses, want %d", len(srv.peers), clients)
	}
	srv.mu.Unlock()
	all := int64(answered.Load())
	for name, want := range map[string]int64{
		"udp.d.downstream_sess_total": clients, "udp.d.downstream_sess_active": clients, "udp.d.downstream_sess_rx_datagrams": all,
		"udp.d.downstream_sess_tx_datagrams": all, "cluster.up.udp.sess_rx_datagrams": all,
	} {
		s.until(fmt.Sprintf("%s is %d", name, want), func() bool { return s.stats()[name] == want })
	}
	t.Logf("%d upgrades, %d datagrams there and back", upgrades, all)
}
