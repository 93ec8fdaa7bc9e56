// Redis is a program for the end-to-end tests: GET /?host=H&command=C (more than one: in one write) sends commands to a Redis and
// writes what comes back.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

func main() {
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("host") == "" {
			return // a probe
		}
		if err := call(w, r); err != nil {
			fmt.Fprintln(w, err)
		}
	})
	log.Fatal(http.ListenAndServe(":9080", nil)) //nolint:gosec // for tests
}

func call(w http.ResponseWriter, r *http.Request) error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(r.FormValue("host"), "6379"), 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprint(c, strings.Join(r.Form["command"], "\r\n")+"\r\nECHO end\r\n"); err != nil {
		return err
	}
	refused := 0
	for in := bufio.NewScanner(c); in.Scan(); {
		line := strings.TrimSpace(in.Text())
		if strings.HasPrefix(line, "-NOAUTH") {
			refused++
		}
		if line == "end" || refused > len(r.Form["command"]) { // the ECHO too
			return nil
		}
		if !strings.HasPrefix(line, "$") || line == "$-1" {
			fmt.Fprint(w, line, " ")
		}
	}
	return nil
}
