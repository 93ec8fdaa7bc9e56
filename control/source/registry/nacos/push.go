package nacos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/control/source/registry"
)

const (
	// grpcOffset is from the port of HTTP to that of gRPC.
	grpcOffset   = 1000
	firstTry     = 3 * time.Second
	healthPeriod = 5 * time.Second
	methodAsk    = "/Request/request"
	methodStream = "/BiRequestStream/requestBiStream"
	// clientVersion is what servers go by; ours speaks as those of version 2 do.
	clientVersion = "Nacos-Go-Client:v2.2.0"
)

// errNoGRPC: the server does not answer over gRPC.
var errNoGRPC = errors.New("no gRPC")

// link is a connection over which the server pushes.
type link struct {
	c      *Client
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	token  string
	to     registry.Sink

	mu    sync.Mutex
	times map[string]int64 // of what was told of services
}

// push follows the server over gRPC until the connection ends.
func (c *Client) push(ctx context.Context, to registry.Sink, token string) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	base := c.bases[c.next]
	port, err := strconv.Atoi(base.Port())
	if err != nil {
		return err
	}
	secure := insecure.NewCredentials()
	if base.Scheme == "https" {
		secure = credentials.NewTLS(c.tls)
	}
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(base.Hostname(), strconv.Itoa(port+grpcOffset)),
		grpc.WithTransportCredentials(secure), grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{}), grpc.MaxCallRecvMsgSize(largest)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: patience}))
	if err != nil {
		return err
	}
	l := &link{c: c, conn: conn, token: token, to: to, times: map[string]int64{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	first, cancel := context.WithTimeout(ctx, firstTry)
	err = l.ask(first, serverCheckRequest{}, nil)
	cancel()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoGRPC, err)
	}
	if l.stream, err = conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, methodStream); err != nil {
		return err
	}
	setup := connectionSetupRequest{ClientVersion: clientVersion, Tenant: c.spec.Scope, Labels: map[string]string{"source": "sdk", "module": "naming"}, Abilities: map[string]any{}}
	if err := l.send(setup); err != nil {
		return err
	}
	wg.Go(func() { fail(l.listen()) })
	wg.Go(func() { fail(l.beat(ctx)) })
	err = l.follow(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (l *link) pack(v any) (*payload, error) {
	headers := map[string]string{}
	if l.token != "" {
		headers["accessToken"] = l.token
	}
	return pack(v, headers)
}

func (l *link) ask(ctx context.Context, v, into any) error {
	p, err := l.pack(v)
	if err != nil {
		return err
	}
	var got payload
	if err := l.conn.Invoke(ctx, methodAsk, p, &got); err != nil {
		return err
	}
	return got.unpack(into)
}

// send is for one goroutine at a time: the setup, then listen.
func (l *link) send(v any) error {
	p, err := l.pack(v)
	if err != nil {
		return err
	}
	return l.stream.SendMsg(p)
}

// listen takes and answers what the server says.
func (l *link) listen() error {
	for {
		var p payload
		if err := l.stream.RecvMsg(&p); err != nil {
			return fmt.Errorf("the server has ended the stream: %w", err)
		}
		var r notifySubscriberRequest
		if err := json.Unmarshal(p.body, &r); err != nil {
			return fmt.Errorf("%s: %w", p.kind, err)
		}
		switch p.kind {
		case "NotifySubscriberRequest":
			l.take(r.ServiceInfo.GroupName, r.ServiceInfo.Name, &r.ServiceInfo)
		case "ConnectResetRequest":
			return errors.New("the server asks to connect anew")
		}
		if kind, ok := strings.CutSuffix(p.kind, "Request"); ok {
			if err := l.send(answer{ResultCode: okCode, Success: true, RequestID: r.RequestID, kind: kind + "Response"}); err != nil {
				return err
			}
		}
	}
}

// take tells of a service.
func (l *link) take(group, name string, info *serviceInfo) {
	if g, n, ok := strings.Cut(name, "@@"); ok {
		group, name = g, n
	}
	s := l.c.service(group, name, info)
	l.mu.Lock()
	defer l.mu.Unlock()
	// The answer to a subscription may come after the push of what is newer.
	if info.LastRefTime >= l.times[s.Name] {
		l.times[s.Name] = info.LastRefTime
		l.to.Service(s)
	}
}

// beat asks for a sign of life from time to time.
func (l *link) beat(ctx context.Context) error {
	ticker := time.NewTicker(healthPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		wait, cancel := context.WithTimeout(ctx, patience)
		err := l.ask(wait, healthCheckRequest{}, nil)
		cancel()
		if err != nil && !errors.Is(err, errUnregistered) {
			return err
		}
	}
}

// follow subscribes to all services, and asks from time to time which there are.
func (l *link) follow(ctx context.Context) error {
	ticker := time.NewTicker(l.c.spec.Refresh)
	defer ticker.Stop()
	subscribed := map[string]bool{}
	for {
		var all []string
		for _, group := range l.c.groups {
			names, err := l.listed(ctx, group)
			if err != nil {
				return err
			}
			for _, name := range names {
				key := group + "@@" + name
				all = append(all, key)
				if subscribed[key] {
					continue
				}
				var got subscribeServiceResponse
				r := subscribeServiceRequest{Namespace: l.c.spec.Scope, ServiceName: name, GroupName: group, Module: "naming", Subscribe: true}
				if err := l.ask(ctx, r, &got); err != nil {
					return err
				}
				l.take(group, name, &got.ServiceInfo)
				subscribed[key] = true
			}
		}
		l.to.Complete(all)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listed are the services of a group. A connection that was just set up may not be known to the server yet.
func (l *link) listed(ctx context.Context, group string) ([]string, error) {
	var out []string
	for n, tries := 1, 0; ; {
		var got serviceListResponse
		err := l.ask(ctx, serviceListRequest{Namespace: l.c.spec.Scope, GroupName: group, Module: "naming", PageNo: n, PageSize: page}, &got)
		if errors.Is(err, errUnregistered) && tries < 20 {
			tries++
			t := time.NewTimer(100 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, got.ServiceNames...)
		if len(got.ServiceNames) == 0 || len(out) >= got.Count {
			return wanted(out), nil
		}
		n++
	}
}
