// Package als sends access logs over gRPC to a server of Envoy's
// AccessLogService: one stream per log, opened again when it breaks.
//
// An entry is made on the caller's thread, since a request's memory does not
// outlive it; the rest is export.Batch's. What is under way when a stream breaks
// is lost and counted.
package als

import (
	"context"
	"log/slog"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/telemetry/export"
)

// Options of a Logger.
type Options struct {
	// Name tells the server which log it is; Node who sends it.
	Name string
	Node *corev3.Node
	// TCP logs connections, otherwise requests.
	TCP bool
	// RequestHeaders, ResponseHeaders and Trailers are logged beside the usual ones.
	RequestHeaders, ResponseHeaders, Trailers []string
	Tags                                      []format.Tag
	// Objects of filter state that go with an entry, by their keys.
	Objects []string
	// Every and Bytes say when what there is is sent.
	Every time.Duration
	Bytes int
	Conn  grpc.ClientConnInterface
	Log   *slog.Logger
}

// Logger is an access log. Run it once.
type Logger struct {
	Options
	http   *export.Batch[*datav3.HTTPAccessLogEntry]
	tcp    *export.Batch[*datav3.TCPAccessLogEntry]
	stream alspb.AccessLogService_StreamAccessLogsClient // Run's alone
}

// New makes a Logger.
func New(o Options) *Logger {
	l := &Logger{Options: o}
	if o.TCP {
		l.tcp = export.New(&export.Batch[*datav3.TCPAccessLogEntry]{
			Every: o.Every, Bytes: o.Bytes, Log: o.Log, Size: func(e *datav3.TCPAccessLogEntry) int { return proto.Size(e) },
			Send: func(ctx context.Context, es []*datav3.TCPAccessLogEntry) error {
				return l.send(ctx, &alspb.StreamAccessLogsMessage{LogEntries: &alspb.StreamAccessLogsMessage_TcpLogs{
					TcpLogs: &alspb.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: es},
				}})
			},
		})
		return l
	}
	l.http = export.New(&export.Batch[*datav3.HTTPAccessLogEntry]{
		Every: o.Every, Bytes: o.Bytes, Log: o.Log, Size: func(e *datav3.HTTPAccessLogEntry) int { return proto.Size(e) },
		Send: func(ctx context.Context, es []*datav3.HTTPAccessLogEntry) error {
			return l.send(ctx, &alspb.StreamAccessLogsMessage{LogEntries: &alspb.StreamAccessLogsMessage_HttpLogs{
				HttpLogs: &alspb.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: es},
			}})
		},
	})
	return l
}

// Log queues an entry.
func (l *Logger) Log(i *filter.Info) {
	if l.TCP {
		l.tcp.Add(l.connection(i))
	} else {
		l.http.Add(l.request(i))
	}
}

// Run sends until ctx ends.
func (l *Logger) Run(ctx context.Context) error {
	defer func() {
		if l.stream != nil {
			_ = l.stream.CloseSend()
		}
	}()
	if l.TCP {
		return l.tcp.Run(ctx)
	}
	return l.http.Run(ctx)
}

// send sends on the present stream, or on a new one, which begins with who we are.
func (l *Logger) send(ctx context.Context, m *alspb.StreamAccessLogsMessage) error {
	if l.stream == nil {
		// The stream outlives the batch.
		s, err := alspb.NewAccessLogServiceClient(l.Conn).StreamAccessLogs(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		l.stream = s
		m.Identifier = &alspb.StreamAccessLogsMessage_Identifier{Node: l.Node, LogName: l.Name}
	}
	err := l.stream.Send(m)
	if err != nil {
		_, err = l.stream.CloseAndRecv() // which knows why
		l.stream = nil
	}
	return err
}
