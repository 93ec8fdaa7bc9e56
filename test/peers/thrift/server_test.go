// Package thrift drives Apache's Thrift library, client against server, through the proxy: each transport
// and protocol, routes on the operation, weights, retries on a server that dies, errors of the proxy's own.
package thrift

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apache "github.com/apache/thrift/lib/go/thrift"
)

// args is a struct of one string, of requests and (with id 0) of results.
type args struct {
	id   int16
	text string
}

func (a *args) Write(ctx context.Context, p apache.TProtocol) error {
	return errors.Join(p.WriteStructBegin(ctx, "args"), p.WriteFieldBegin(ctx, "text", apache.STRING, a.id), p.WriteString(ctx, a.text),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

func (a *args) Read(ctx context.Context, p apache.TProtocol) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, typ, _, err := p.ReadFieldBegin(ctx)
		if err != nil {
			return err
		}
		if typ == apache.STOP {
			return p.ReadStructEnd(ctx)
		}
		if a.text, err = p.ReadString(ctx); err != nil {
			return err
		}
		if err := p.ReadFieldEnd(ctx); err != nil {
			return err
		}
	}
}

// server answers every operation but "missing" with its name and what it was sent.
type server struct {
	name  string
	addr  string
	told  atomic.Int32 // one-way calls
	calls atomic.Int32
	stop  func()
}

func (s *server) Process(ctx context.Context, in, out apache.TProtocol) (bool, apache.TException) {
	name, typ, seq, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, apache.WrapTException(err)
	}
	a := &args{}
	if err := errors.Join(a.Read(ctx, in), in.ReadMessageEnd(ctx)); err != nil {
		return false, apache.WrapTException(err)
	}
	s.calls.Add(1)
	if typ == apache.ONEWAY {
		s.told.Add(1)
		return true, nil
	}
	var result apache.TStruct = &args{id: 0, text: s.name + " " + name + " " + a.text}
	kind := apache.REPLY
	switch strings.TrimPrefix(name, "Demo:") {
	case "refuse":
		result = thrown{}
	case "missing":
		e := apache.NewTApplicationException(apache.UNKNOWN_METHOD, "no operation "+name)
		err = errors.Join(out.WriteMessageBegin(ctx, name, apache.EXCEPTION, seq), e.Write(ctx, out), out.WriteMessageEnd(ctx), out.Flush(ctx))
		return true, apache.WrapTException(err)
	case "throw":
		result = &args{id: 1, text: "declared"}
	}
	err = errors.Join(out.WriteMessageBegin(ctx, name, kind, seq), result.Write(ctx, out), out.WriteMessageEnd(ctx), out.Flush(ctx))
	return true, apache.WrapTException(err)
}

func (s *server) ProcessorMap() map[string]apache.TProcessorFunction  { return nil }
func (s *server) AddToProcessorMap(string, apache.TProcessorFunction) {}

// form is a transport and a protocol.
type form struct {
	name      string
	transport apache.TTransportFactory
	protocol  apache.TProtocolFactory
}

func forms() []form {
	conf := &apache.TConfiguration{}
	binary, compact := apache.NewTBinaryProtocolFactoryConf(conf), apache.NewTCompactProtocolFactoryConf(conf)
	buffered, framed := apache.NewTBufferedTransportFactory(4096), apache.NewTFramedTransportFactoryConf(apache.NewTTransportFactory(), conf)
	return []form{
		{"buffered binary", buffered, binary},
		{"buffered compact", buffered, compact},
		{"framed binary", framed, binary},
		{"framed compact", framed, compact},
		{"header", apache.NewTTransportFactory(), apache.NewTHeaderProtocolFactoryConf(conf)},
	}
}

func TestMain(m *testing.M) {
	apache.ServerStopTimeout = time.Millisecond // servers that are stopped cut their clients off
	os.Exit(m.Run())
}

func serve(t *testing.T, name string, f form) *server {
	t.Helper()
	ss, err := apache.NewTServerSocket("127.0.0.1:0")
	if err == nil {
		err = ss.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &server{name: name, addr: ss.Addr().String()}
	srv := apache.NewTSimpleServer4(s, ss, f.transport, f.protocol)
	srv.SetLogger(func(string) {})
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	once := false
	s.stop = func() {
		if !once {
			once = true
			_ = srv.Stop()
			<-ended
		}
	}
	t.Cleanup(s.stop)
	return s
}
