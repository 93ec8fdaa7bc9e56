// Command ticker speaks the protocol of examples/wasm-codec, for tests: "serve NAME" listens on port 7000 and answers
// each question with a line "from=NAME" and the question's lines; "page" listens on port 9080 and makes of GET /?k=v a
// question to the service ticker with the lines k=v, in the order of their names.
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
	"time"
)

const (
	headLen = 9
	timeout = time.Minute
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "page":
		s := &http.Server{Addr: ":9080", ReadHeaderTimeout: timeout, Handler: http.HandlerFunc(page)}
		log.Fatal(s.ListenAndServe())
	}
	log.Fatal("want: serve NAME, or page")
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
				id, _, text, err := read(nc)
				if err != nil {
					return
				}
				_, _ = nc.Write(message(id, 'A', "from="+name+"\n"+text))
			}
		}()
	}
}

func page(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if len(q) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	text := ""
	for _, k := range slices.Sorted(maps.Keys(q)) {
		text += k + "=" + q.Get(k) + "\n"
	}
	kind, answer, err := ask(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%c %s", kind, answer)
}

func ask(text string) (byte, string, error) {
	nc, err := net.DialTimeout("tcp", "ticker:7000", timeout)
	if err != nil {
		return 0, "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(timeout))
	if _, err := nc.Write(message(7, 'Q', text)); err != nil {
		return 0, "", err
	}
	id, kind, answer, err := read(nc)
	if err == nil && id != 7 {
		err = fmt.Errorf("the answer has id %d, want 7", id)
	}
	return kind, answer, err
}

func read(r io.Reader) (id uint32, kind byte, text string, err error) {
	head := make([]byte, headLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, 0, "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-headLen)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), head[8], string(body), err
}

func message(id uint32, kind byte, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(headLen+len(text))) //nolint:gosec // short
	return append(append(binary.BigEndian.AppendUint32(b, id), kind), text...)
}
