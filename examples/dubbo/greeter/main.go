// Command greeter is a Dubbo service, or a web page that calls one: "serve NAME" listens on
// port 20880 and answers each call with NAME and the attachments that came with it; "call" listens on port 9080 and
// makes of GET /?service=S&method=M&host=H&k=v a call of S.M at H with the attachments k=v; "ask HOST:PORT S M k=v" makes one call.
// It writes and reads Hessian 2 as far as strings go.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	port    = "20880"
	headLen = 16
	timeout = time.Minute
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "call":
		s := &http.Server{Addr: ":9080", ReadHeaderTimeout: timeout, Handler: http.HandlerFunc(page)}
		log.Fatal(s.ListenAndServe())
	}
	if len(os.Args) >= 5 && os.Args[1] == "ask" {
		ask(os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
		return
	}
	log.Fatal("want: serve NAME, call, or ask HOST:PORT SERVICE METHOD k=v")
}

func serve(name string) {
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go answer(nc, name)
	}
}

func answer(nc net.Conn, name string) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	for {
		head, body, err := read(r)
		if err != nil {
			return
		}
		if head[2]&0x20 != 0 {
			continue // an event
		}
		text := name + " " + strings.Join(words(body), " ")
		if strings.Contains(text, " fail ") {
			_, _ = nc.Write(frame(2, 20, head[4:12], append([]byte{0x90}, str(name+" fails")...)))
			continue
		}
		_, _ = nc.Write(frame(2, 20, head[4:12], append([]byte{0x91}, str(text)...)))
	}
}

// words are the strings of a request: versions, path, method, and the attachments.
func words(b []byte) (out []string) {
	for len(b) > 0 {
		n, skip := 0, 1
		switch c := b[0]; {
		case c <= 0x1f:
			n = int(c)
		case c >= 0x30 && c <= 0x33 && len(b) > 1:
			n, skip = int(c-0x30)<<8|int(b[1]), 2
		case c == 'S' && len(b) > 2:
			n, skip = int(binary.BigEndian.Uint16(b[1:])), 3
		default:
			b = b[1:]
			continue
		}
		out = append(out, string(b[skip:min(skip+n, len(b))]))
		b = b[min(skip+n, len(b)):]
	}
	return out
}

var ids atomic.Uint64

func page(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	service, method, host := q.Get("service"), q.Get("method"), q.Get("host")
	if service == "" {
		fmt.Fprintln(w, "ready")
		return
	}
	var attached []string
	for k, v := range q {
		if k != "service" && k != "method" && k != "host" {
			attached = append(attached, k+"="+v[0])
		}
	}
	state, text, err := call(net.JoinHostPort(host, port), request(service, method, attached))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%d %s\n", state, text)
}

// request is the body of a call with attachments "k=v".
func request(service, method string, attached []string) []byte {
	body := slices.Concat(str("2.0.2"), str(service), str("0.0.0"), str(method), str(""), []byte{'H'})
	for _, kv := range attached {
		k, v, _ := strings.Cut(kv, "=")
		body = slices.Concat(body, str(k), str(v))
	}
	return append(body, 'Z')
}

func ask(addr, service, method string, attached []string) {
	state, text, err := call(addr, request(service, method, attached))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state, text)
}

func call(addr string, body []byte) (byte, string, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return 0, "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(timeout))
	id := binary.BigEndian.AppendUint64(nil, ids.Add(1))
	if _, err := nc.Write(frame(0x80|0x40|2, 0, id, body)); err != nil {
		return 0, "", err
	}
	head, got, err := read(bufio.NewReader(nc))
	if err != nil {
		return 0, "", err
	}
	if string(head[4:12]) != string(id) {
		return 0, "", fmt.Errorf("the answer has id %x, want %x", head[4:12], id)
	}
	kind := ""
	if head[3] == 20 && len(got) > 0 {
		kind, got = fmt.Sprintf("%d ", got[0]-0x90), got[1:]
	}
	return head[3], kind + strings.Join(words(got), " "), nil
}

func read(r io.Reader) (head, body []byte, err error) {
	head = make([]byte, headLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[12:]))
	_, err = io.ReadFull(r, body)
	return head, body, err
}

func frame(flags, state byte, id, body []byte) []byte {
	out := slices.Concat([]byte{0xda, 0xbb, flags, state}, id)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(body))), body...) //nolint:gosec // short
}

// str is a string in Hessian 2; these here are ASCII.
func str(s string) []byte {
	n := len(s)
	switch {
	case n <= 0x1f:
		return append([]byte{byte(n)}, s...)
	case n < 1024:
		return append([]byte{0x30 + byte(n>>8), byte(n)}, s...)
	}
	return append([]byte{'S', byte(n >> 8), byte(n)}, s...)
}
