package proxyless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// forwarded begins the methods that are let through: configuration, and nothing else
// that the workload's credentials would open.
const forwarded = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

// message is one message as it came.
type message struct{ body []byte }

// asIs is the codec of messages that nobody looks into. It goes by protobuf's name,
// so that both sides understand it.
type asIs struct{}

var _ encoding.CodecV2 = asIs{}

// Marshal implements encoding.CodecV2.
func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("BUG: forward: %T is no message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.body)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("BUG: forward: %T is no message", v)
	}
	m.body = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (asIs) Name() string { return "proto" }

// serve leads every stream on the socket to the control plane, until ctx ends.
func serve(ctx context.Context, l net.Listener, control grpc.ClientConnInterface, log *slog.Logger) error {
	server := grpc.NewServer(grpc.ForceServerCodecV2(asIs{}), grpc.UnknownServiceHandler(func(_ any, down grpc.ServerStream) error {
		return forward(down, control, log)
	}))
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gRPC socket %s: %w", l.Addr(), err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// forward carries one stream. It waits for a control plane that is gone: gRPC would
// wait for up to two minutes before it tried again. When either side ends the other
// does, since what a new control plane is to know has to be asked anew.
func forward(down grpc.ServerStream, control grpc.ClientConnInterface, log *slog.Logger) error {
	method, _ := grpc.MethodFromServerStream(down)
	if !strings.HasPrefix(method, forwarded) {
		return status.Errorf(codes.Unimplemented, "%s is not forwarded: only xDS is", method)
	}
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := control.NewStream(ctx, &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}, method,
		grpc.ForceCodecV2(asIs{}), grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	log.Debug("gRPC: stream begins", "method", method)
	go func() { // until this function has returned, at the latest
		if err := carry(down.RecvMsg, up.SendMsg); err != nil {
			cancel()
			return
		}
		_ = up.CloseSend() // whose error the other direction has too
	}()
	return carry(up.RecvMsg, down.SendMsg)
}

// carry hands on message by message, so that a reader who is slow slows the writer,
// until there are no more.
func carry(recv, send func(any) error) error {
	for {
		var m message
		if err := recv(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := send(&m); err != nil {
			return err
		}
	}
}
