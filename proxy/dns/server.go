package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// answerBound is how long one question may take.
const answerBound = 5 * time.Second

// Server answers on sockets.
type Server struct {
	Resolver *Resolver
	// Addresses to listen on, host:port, UDP and TCP each.
	Addresses []string
	Log       *slog.Logger
	// Listen and ListenPacket make the sockets; nil: net's.
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	open []*dns.Server // made by Open
}

// Open makes the sockets before Run, which then does not.
func (s *Server) Open(ctx context.Context) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerBound)
		defer cancel()
		m := s.Resolver.Answer(bound, q)
		if _, tcp := w.RemoteAddr().(*net.TCPAddr); !tcp {
			size := dns.MinMsgSize
			if opt := q.IsEdns0(); opt != nil {
				size = int(opt.UDPSize())
			}
			m.Truncate(size)
		}
		if err := w.WriteMsg(m); err != nil {
			s.Log.Debug("answer not sent", "error", err)
		}
	})
	var lc net.ListenConfig
	listen, packets := s.Listen, s.ListenPacket
	if listen == nil {
		listen = lc.Listen
	}
	if packets == nil {
		packets = lc.ListenPacket
	}
	for _, addr := range s.Addresses {
		pc, err := packets(ctx, "udp", addr)
		if err != nil {
			s.close()
			return fmt.Errorf("dns on %s: %w", addr, err)
		}
		s.open = append(s.open, &dns.Server{PacketConn: pc, Handler: handler})
		l, err := listen(ctx, "tcp", pc.LocalAddr().String())
		if err != nil {
			s.close()
			return fmt.Errorf("dns on %s: %w", addr, err)
		}
		s.open = append(s.open, &dns.Server{Listener: l, Handler: handler})
	}
	return nil
}

// lastAnswers is how long answers may take after the end.
const lastAnswers = 500 * time.Millisecond

// Run serves until ctx ends, and answers what has been asked by then.
func (s *Server) Run(ctx context.Context) error {
	if s.open == nil {
		if err := s.Open(ctx); err != nil {
			return err
		}
	}
	defer s.close()
	g, ctx := errgroup.WithContext(ctx)
	for _, srv := range s.open {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		g.Go(func() error {
			if err := srv.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("dns: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			<-started
			bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
			defer cancel()
			_ = srv.ShutdownContext(bound) // what is late is cut
			return nil
		})
	}
	return g.Wait()
}

func (s *Server) close() {
	for _, srv := range s.open {
		if srv.PacketConn != nil {
			srv.PacketConn.Close()
		}
		if srv.Listener != nil {
			srv.Listener.Close()
		}
	}
	s.open = nil
}

// Forwarder asks the name servers of the host, one after the other.
type Forwarder struct {
	// Dial connects to a server, "udp" or "tcp"; it may do so in another network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Servers are host:port.
	Servers []string
	// Timeout for one server; 2 s when 0.
	Timeout time.Duration
}

// Exchange implements Upstream. A truncated answer is fetched again over TCP.
func (f *Forwarder) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	err := fmt.Errorf("no name servers are configured")
	for _, server := range f.Servers {
		var m *dns.Msg
		if m, err = f.ask(ctx, "udp", server, q); err == nil && m.Truncated {
			m, err = f.ask(ctx, "tcp", server, q)
		}
		if err == nil {
			return m, nil
		}
	}
	return nil, err
}

func (f *Forwarder) ask(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	timeout := f.Timeout
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := f.Dial(ctx, network, server)
	if err != nil {
		return nil, fmt.Errorf("name server %s: %w", server, err)
	}
	defer c.Close()
	client := &dns.Client{Net: network, Timeout: timeout}
	m, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: c})
	if err != nil {
		return nil, fmt.Errorf("name server %s: %w", server, err)
	}
	return m, nil
}
