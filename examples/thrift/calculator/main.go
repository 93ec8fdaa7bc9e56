// Command calculator is a Thrift service, or a web page that calls it, with Apache's library: "serve
// NAME" listens on port 9090 and answers each operation with NAME, the operation and the headers that came with
// it; "call" listens on port 9080 and makes of GET /?op=OPERATION&k=v a call with the headers k=v.
//
// It has no generated code: operations have one string as argument and one as result.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

const (
	port    = "9090"
	timeout = time.Minute
)

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

// text is a struct with one string, in the field of that id: 1 in arguments, 0 in results.
type text struct {
	id int16
	is string
}

// Write implements thrift.TStruct.
func (t *text) Write(ctx context.Context, p thrift.TProtocol) error {
	return errors.Join(p.WriteStructBegin(ctx, "text"), p.WriteFieldBegin(ctx, "text", thrift.STRING, t.id), p.WriteString(ctx, t.is),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

// Read implements thrift.TStruct.
func (t *text) Read(ctx context.Context, p thrift.TProtocol) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, typ, _, err := p.ReadFieldBegin(ctx)
		if err != nil {
			return err
		}
		if typ == thrift.STOP {
			return p.ReadStructEnd(ctx)
		}
		if t.is, err = p.ReadString(ctx); err != nil {
			return err
		}
		if err := p.ReadFieldEnd(ctx); err != nil {
			return err
		}
	}
}

// protocol is the header transport with the binary protocol, which carries headers.
func protocol() thrift.TProtocolFactory {
	return thrift.NewTHeaderProtocolFactoryConf(&thrift.TConfiguration{ConnectTimeout: timeout, SocketTimeout: timeout})
}

func serve(name string) error {
	socket, err := thrift.NewTServerSocket(":" + port)
	if err != nil {
		return err
	}
	return thrift.NewTSimpleServer4(service{name}, socket, thrift.NewTHeaderTransportFactoryConf(nil, nil), protocol()).Serve()
}

// service answers every operation.
type service struct{ name string }

// Process implements thrift.TProcessor.
func (s service) Process(ctx context.Context, in, out thrift.TProtocol) (bool, thrift.TException) {
	name, _, seq, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	if err := errors.Join(new(text).Read(ctx, in), in.ReadMessageEnd(ctx)); err != nil {
		return false, thrift.WrapTException(err)
	}
	words := []string{s.name, name}
	if p, ok := in.(*thrift.THeaderProtocol); ok {
		var fields []string
		for k, v := range p.GetReadHeaders() {
			if !strings.HasPrefix(k, "x-") && k != "traceparent" { // the mesh's own
				fields = append(fields, k+"="+v)
			}
		}
		slices.Sort(fields)
		words = append(words, fields...)
	}
	result := &text{is: strings.Join(words, " ")}
	err = errors.Join(out.WriteMessageBegin(ctx, name, thrift.REPLY, seq), result.Write(ctx, out), out.WriteMessageEnd(ctx), out.Flush(ctx))
	return err == nil, thrift.WrapTException(err)
}

// ProcessorMap implements thrift.TProcessor.
func (service) ProcessorMap() map[string]thrift.TProcessorFunction { return nil }

// AddToProcessorMap implements thrift.TProcessor.
func (service) AddToProcessorMap(string, thrift.TProcessorFunction) {}

func page(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	op := q.Get("op")
	if op == "" {
		fmt.Fprintln(w, "ready")
		return
	}
	ctx := r.Context()
	var keys []string
	for k := range q {
		if k != "op" {
			ctx = thrift.SetHeader(ctx, k, q.Get(k)) //nolint:fatcontext // where the library keeps them
			keys = append(keys, k)
		}
	}
	answer, err := call(thrift.SetWriteHeaderList(ctx, keys), op)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, answer)
}

func call(ctx context.Context, op string) (string, error) {
	socket := thrift.NewTSocketConf("calculator:"+port, &thrift.TConfiguration{ConnectTimeout: timeout, SocketTimeout: timeout})
	if err := socket.Open(); err != nil {
		return "", err
	}
	defer socket.Close()
	p := protocol().GetProtocol(socket)
	result := &text{}
	_, err := thrift.NewTStandardClient(p, p).Call(ctx, op, &text{1, "x"}, result)
	return result.is, err
}
