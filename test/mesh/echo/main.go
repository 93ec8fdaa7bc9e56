// Echo is a program for the end-to-end tests: it upgrades connections and sends
// back what comes, answers who it is ($NAME), over HTTP, on $STREAM over TCP, on
// $SECURE over TLS and on $DATAGRAMS over UDP, counts what it was asked (/echo/count), and calls others when it is
// told to, once or on and on.
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /echo/headers", func(w http.ResponseWriter, r *http.Request) {
		for k, v := range r.Header {
			for _, x := range v {
				_, _ = io.WriteString(w, k+": "+x+"\n")
			}
		}
	})
	mux.HandleFunc("GET /echo/ws", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "want an upgrade", http.StatusUpgradeRequired)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			log.Print(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	mux.HandleFunc("GET /echo/name", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, os.Getenv("NAME")) })
	mux.HandleFunc("GET /echo/call", call)
	mux.HandleFunc("GET /echo/fail", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("GET /echo/hold", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("GET /echo/busy", busy)
	mux.HandleFunc("GET /echo/ask", ask)
	mux.HandleFunc("GET /echo/asked", asked)
	mux.HandleFunc("GET /echo/dial", dial)
	mux.HandleFunc("GET /echo/lookup", func(w http.ResponseWriter, r *http.Request) {
		list, err := net.DefaultResolver.LookupNetIP(r.Context(), "ip4", r.FormValue("host"))
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		for _, a := range list {
			fmt.Fprintln(w, a.Unmap())
		}
	})
	mux.HandleFunc("GET /echo/counted", func(http.ResponseWriter, *http.Request) { counted.Add(1) })
	mux.HandleFunc("GET /echo/count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "count %d.", counted.Load()) })
	if stream := os.Getenv("STREAM"); stream != "" {
		go serveStream(stream, nil)
	}
	if secure := os.Getenv("SECURE"); secure != "" {
		go serveStream(secure, selfSigned())
	}
	if datagrams := os.Getenv("DATAGRAMS"); datagrams != "" {
		go serveDatagrams(datagrams)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9080"
	}
	log.Fatal(http.ListenAndServe(":"+port, mux))
}

const patience = time.Minute

// working is 1 while the program is to use a processor.
var working atomic.Bool

// busy makes the program use a processor (?on=true), or stop.
func busy(_ http.ResponseWriter, r *http.Request) {
	on := r.FormValue("on") == "true"
	if was := working.Swap(on); on && !was {
		go func() {
			for working.Load() {
			}
		}()
	}
}

// call asks ?url= for the host ?host= and answers with code and body.
func call(w http.ResponseWriter, r *http.Request) {
	q, err := http.NewRequestWithContext(r.Context(), cmp.Or(r.FormValue("method"), http.MethodGet), r.FormValue("url"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	q.Host = r.FormValue("host")
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Fprintf(w, "%d %s", resp.StatusCode, body)
}

// asking is what became of the requests that the program makes by itself: those that
// ended alike one after the other are one line.
var asking struct {
	sync.Mutex
	stop func()
	runs []run
}

type run struct {
	what                    string
	n                       int
	sent, firstEnd, lastEnd time.Time
}

// ask has the program ask ?url= every 20 ms from now on, whether or not what was asked
// before has been answered, on a connection of its own each time.
func ask(_ http.ResponseWriter, r *http.Request) {
	target := r.FormValue("url")
	asking.Lock()
	defer asking.Unlock()
	if asking.stop != nil {
		asking.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	asking.stop, asking.runs = stop, nil
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				go once(ctx, target)
			}
		}
	}()
}

// once has a resolver of its own: lookups of one resolver wait for each other, so that a
// single question that was lost with a killed agent would hold up all for five seconds.
func once(ctx context.Context, target string) {
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	sent, what := time.Now(), ""
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}).Do(q)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		what = err.Error()
		what = what[strings.LastIndex(what, ": ")+2:]
		var dns *net.DNSError
		if errors.As(err, &dns) {
			what = "DNS: " + what
		}
	default:
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if what = resp.Status; resp.StatusCode != http.StatusOK {
			what += " " + string(body)
		}
	}
	asking.Lock()
	defer asking.Unlock()
	now := time.Now()
	if n := len(asking.runs); n > 0 && asking.runs[n-1].what == what {
		last := &asking.runs[n-1]
		last.n, last.lastEnd = last.n+1, now
		return
	}
	asking.runs = append(asking.runs, run{what, 1, sent, now, now})
}

// asked tells what became of what the program asks by itself: times in nanoseconds since
// 1970, when the first of those that ended alike was sent and ended and the last ended, how
// many they are, and how.
func asked(w http.ResponseWriter, _ *http.Request) {
	asking.Lock()
	defer asking.Unlock()
	for _, x := range asking.runs {
		fmt.Fprintf(w, "%d %d %d %d %q\n", x.sent.UnixNano(), x.firstEnd.UnixNano(), x.lastEnd.UnixNano(), x.n, x.what)
	}
}

// counted is how often /echo/counted was asked.
var counted atomic.Int64

// dial connects to ?to=, with TLS where ?sni= has a name, says something and answers with what comes back.
func dial(w http.ResponseWriter, r *http.Request) {
	c, err := (&net.Dialer{Timeout: patience}).DialContext(r.Context(), "tcp", r.FormValue("to"))
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if sni := r.FormValue("sni"); sni != "" {
		c = tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true}) //nolint:gosec // who answers is what the test asks
	}
	_, _ = io.WriteString(c, "hello\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	_, _ = io.WriteString(w, line)
}

// selfSigned is a certificate that nobody knows.
func selfSigned() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// serveDatagrams answers each datagram with the name and what it says.
func serveDatagrams(port string) {
	pc, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	b := make([]byte, 64<<10)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			log.Fatal(err)
		}
		_, _ = pc.WriteTo(fmt.Appendf(nil, "%s %s", os.Getenv("NAME"), b[:n]), from)
	}
}

// serveStream answers each line with the name, over TLS when there is a configuration.
func serveStream(port string, secure *tls.Config) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				fmt.Fprintln(c, os.Getenv("NAME"))
			}
		}()
	}
}
