// Command orderbook speaks a protocol of its own: "serve NAME" listens on port 7000 and answers each order; "shop" listens on
// port 9080 and makes of GET /?op=buy&user=jo a call of orders:7000. A message is
//
//	"OR"      2 bytes
//	kind      1 byte: 1 call, 2 answer, 3 error
//	-         1 byte
//	length    4 bytes, of the whole message, big endian like all
//	number    4 bytes, of the call that is answered
//	head      4 bytes, its length
//	          lines "name=value", and the body
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	headLen = 16
	timeout = 10 * time.Second
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "shop":
		s := &http.Server{Addr: ":9080", ReadHeaderTimeout: timeout, Handler: http.HandlerFunc(shop)}
		log.Fatal(s.ListenAndServe())
	}
	log.Fatal("want: serve NAME, or shop")
}

func message(kind byte, number uint32, head, body string) []byte {
	b := []byte{'O', 'R', kind, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(headLen+len(head)+len(body)))
	b = binary.BigEndian.AppendUint32(b, number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	return append(append(b, head...), body...)
}

func read(r io.Reader) (kind byte, number uint32, head, body string, err error) {
	b := make([]byte, headLen)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, 0, "", "", err
	}
	size, n := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[12:])
	if size < headLen+n || size > 1<<20 {
		return 0, 0, "", "", fmt.Errorf("a message of %d bytes", size)
	}
	rest := make([]byte, size-headLen)
	_, err = io.ReadFull(r, rest)
	return b[2], binary.BigEndian.Uint32(b[8:]), string(rest[:n]), string(rest[n:]), err
}

func serve(name string) {
	ln, err := net.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer nc.Close()
			for {
				kind, number, head, _, err := read(nc)
				if err != nil {
					return
				}
				if kind == 1 {
					_, _ = nc.Write(message(2, number, "code=0\n", name+" got "+strings.Join(lines(head), " ")))
				}
			}
		}()
	}
}

// lines are those that the shop has sent, and what rules have added.
func lines(head string) (out []string) {
	for _, l := range strings.Fields(head) {
		if !strings.HasPrefix(l, "x-") && !strings.HasPrefix(l, "traceparent") {
			out = append(out, l)
		}
	}
	return out
}

func shop(w http.ResponseWriter, r *http.Request) {
	nc, err := net.DialTimeout("tcp", "orders:7000", timeout)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(timeout))
	var head strings.Builder
	q := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		fmt.Fprintf(&head, "%s=%s\n", name, q.Get(name))
	}
	_, _ = nc.Write(message(1, 7, head.String(), "an order"))
	kind, number, back, body, err := read(nc)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%d %d %s: %s\n", kind, number, strings.Join(strings.Fields(back), " "), body)
}
