// Command thrift is a Thrift service, or a web page that calls one, for tests: "serve NAME" listens on port 9090 and answers
// each call, of any transport, with NAME, the operation and the field "tag"; "call" listens on port 9080 and makes of
// GET /?host=H&method=M&k=v a call of M at H with the fields k=v (THeader), and with form=framed one without fields.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

const (
	port    = "9090"
	timeout = time.Minute
)

var conf = &thrift.TConfiguration{ConnectTimeout: timeout, SocketTimeout: timeout}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		log.Fatal(serve(os.Args[2]))
	case len(os.Args) == 2 && os.Args[1] == "call":
		s := &http.Server{Addr: ":9080", ReadHeaderTimeout: timeout, Handler: http.HandlerFunc(page)}
		log.Fatal(s.ListenAndServe())
	}
	log.Fatal("want: serve NAME, or call")
}

func serve(name string) error {
	s, err := thrift.NewTServerSocket(":" + port)
	if err != nil {
		return err
	}
	return thrift.NewTSimpleServer4(&server{name: name}, s, thrift.NewTTransportFactory(), thrift.NewTHeaderProtocolFactoryConf(conf)).Serve()
}

type server struct{ name string }

func (s *server) Process(ctx context.Context, in, out thrift.TProtocol) (bool, thrift.TException) {
	name, _, seq, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	if err := errors.Join(in.Skip(ctx, thrift.STRUCT), in.ReadMessageEnd(ctx)); err != nil {
		return false, thrift.WrapTException(err)
	}
	tag, _ := thrift.GetHeader(ctx, "tag")
	err = errors.Join(out.WriteMessageBegin(ctx, name, thrift.REPLY, seq), write(ctx, out, 0, fmt.Sprintf("%s %s %s", s.name, name, tag)),
		out.WriteMessageEnd(ctx), out.Flush(ctx))
	return true, thrift.WrapTException(err)
}

func (s *server) ProcessorMap() map[string]thrift.TProcessorFunction  { return nil }
func (s *server) AddToProcessorMap(string, thrift.TProcessorFunction) {}

// write writes a struct of one string.
func write(ctx context.Context, p thrift.TProtocol, id int16, text string) error {
	return errors.Join(p.WriteStructBegin(ctx, ""), p.WriteFieldBegin(ctx, "", thrift.STRING, id), p.WriteString(ctx, text),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

func page(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	method, host := q.Get("method"), q.Get("host")
	if method == "" {
		fmt.Fprintln(w, "ready")
		return
	}
	ctx := r.Context()
	var p thrift.TProtocol
	socket := thrift.NewTSocketConf(net.JoinHostPort(host, port), conf)
	defer socket.Close()
	if q.Get("form") == "framed" {
		p = thrift.NewTBinaryProtocolConf(thrift.NewTFramedTransportConf(socket, conf), conf)
	} else {
		h := thrift.NewTHeaderTransportConf(socket, conf)
		for k, v := range q {
			if k != "method" && k != "host" && k != "form" {
				h.SetWriteHeader(k, v[0])
			}
		}
		p = thrift.NewTHeaderProtocolConf(h, conf)
	}
	text, err := call(ctx, socket, p, method)
	if err != nil {
		text = err.Error()
	}
	fmt.Fprintln(w, text)
}

func call(ctx context.Context, socket thrift.TTransport, p thrift.TProtocol, method string) (string, error) {
	if err := socket.Open(); err != nil {
		return "", err
	}
	if err := errors.Join(p.WriteMessageBegin(ctx, method, thrift.CALL, 1), write(ctx, p, 1, "x"), p.WriteMessageEnd(ctx), p.Flush(ctx)); err != nil {
		return "", err
	}
	_, kind, _, err := p.ReadMessageBegin(ctx)
	if err != nil {
		return "", err
	}
	if kind == thrift.EXCEPTION {
		e := thrift.NewTApplicationException(thrift.UNKNOWN_APPLICATION_EXCEPTION, "")
		if err := e.Read(ctx, p); err != nil {
			return "", err
		}
		return "", e
	}
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return "", err
	}
	if _, _, _, err := p.ReadFieldBegin(ctx); err != nil {
		return "", err
	}
	return p.ReadString(ctx)
}
