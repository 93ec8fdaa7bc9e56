// Command orderer speaks the protocol of examples/private-protocol for tests that need more of
// it than that example's program does. "serve NAME" answers calls on port 7000: with its name;
// op=count with how many calls of op=copied it has had; after op=break it answers calls with an
// error, until op=mend. "ask" listens on port 9080: /batch?n=&conns=&FIELD=VALUE makes n calls over
// conns connections and says how many each server has answered; /load?conns=N begins to call
// without end, /loaded says what became of that, as JSON.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	headLen = 16
	timeout = 20 * time.Second
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "ask":
		mux := http.NewServeMux()
		mux.HandleFunc("/batch", batch)
		mux.HandleFunc("/load", load)
		mux.HandleFunc("/loaded", loaded)
		s := &http.Server{Addr: ":9080", ReadHeaderTimeout: timeout, Handler: mux}
		log.Fatal(s.ListenAndServe())
	}
	log.Fatal("want: serve NAME, or ask")
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

// server is what one has been told.
type server struct {
	name   string
	copied atomic.Int64
	broken atomic.Bool
}

func serve(name string) {
	ln, err := net.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	s := &server{name: name}
	for {
		nc, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go s.answers(nc)
	}
}

func (s *server) answers(nc net.Conn) {
	defer nc.Close()
	for {
		kind, number, head, _, err := read(nc)
		if err != nil {
			return
		}
		if kind == 1 {
			_, _ = nc.Write(s.answer(number, head))
		}
	}
}

func (s *server) answer(number uint32, head string) []byte {
	body := s.name
	switch {
	case strings.Contains(head, "op=break\n"):
		s.broken.Store(true)
	case strings.Contains(head, "op=mend\n"):
		s.broken.Store(false)
	case strings.Contains(head, "op=count\n"):
		body = strconv.FormatInt(s.copied.Load(), 10)
	case strings.Contains(head, "op=copied\n"):
		s.copied.Add(1)
	case s.broken.Load():
		return message(3, number, "code=failed\n", s.name+" is broken")
	}
	return message(2, number, "code=0\n", body)
}

// caller has a connection.
type caller struct {
	nc     net.Conn
	number uint32
}

func dial() (*caller, error) {
	nc, err := net.DialTimeout("tcp", "orders:7000", timeout)
	return &caller{nc: nc}, err
}

// call is the answer's body, or an error for one that is none.
func (c *caller) call(head string) (string, error) {
	c.number++
	_ = c.nc.SetDeadline(time.Now().Add(timeout))
	if _, err := c.nc.Write(message(1, c.number, head, "an order")); err != nil {
		return "", err
	}
	kind, number, back, body, err := read(c.nc)
	switch {
	case err != nil:
		return "", err
	case number != c.number:
		return "", fmt.Errorf("answer %d to call %d", number, c.number)
	case kind != 2:
		return body, fmt.Errorf("refused: %s %s", strings.TrimSpace(back), body)
	}
	return body, nil
}

// headOf makes lines of what is not for this program.
func headOf(q url.Values) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "n" && name != "conns" {
			fmt.Fprintf(&b, "%s=%s\n", name, q.Get(name))
		}
	}
	return b.String()
}

// batch makes calls; a failed one counts by its error.
func batch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, _ := strconv.Atoi(q.Get("n"))
	conns, _ := strconv.Atoi(q.Get("conns"))
	n, conns = max(n, 1), max(conns, 1)
	head, left := headOf(q), atomic.Int64{}
	left.Store(int64(n))
	var mu sync.Mutex
	seen := map[string]int{}
	count := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		seen[what]++
	}
	var g sync.WaitGroup
	for range conns {
		g.Go(func() {
			c, err := dial()
			if err != nil {
				count(err.Error())
				return
			}
			defer c.nc.Close()
			for left.Add(-1) >= 0 {
				what, err := c.call(head)
				if err != nil {
					what = err.Error()
				}
				count(what)
			}
		})
	}
	g.Wait()
	_ = json.NewEncoder(w).Encode(seen)
}

// report is what became of the load.
type report struct {
	Calls int
	Lost  int    // connections
	Error string // the last
	Last  string // who has answered last
}

var (
	state sync.Mutex
	load1 report
)

func load(_ http.ResponseWriter, r *http.Request) {
	conns, _ := strconv.Atoi(r.FormValue("conns"))
	for range max(conns, 1) {
		go func() {
			for {
				err := calls()
				state.Lock()
				load1.Lost++
				load1.Error = err.Error()
				state.Unlock()
			}
		}()
	}
}

// calls calls until something is wrong.
func calls() error {
	c, err := dial()
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return err
	}
	defer c.nc.Close()
	for {
		who, err := c.call("op=buy\n")
		if err != nil {
			return err
		}
		state.Lock()
		load1.Calls++
		load1.Last = who
		state.Unlock()
	}
}

func loaded(w http.ResponseWriter, _ *http.Request) {
	state.Lock()
	defer state.Unlock()
	_ = json.NewEncoder(w).Encode(load1)
}
