// Echo is a program for the end-to-end tests: it upgrades connections and sends
// back what comes, and answers who it is.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
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
	port := os.Getenv("PORT")
	if port == "" {
		port = "9080"
	}
	log.Fatal(http.ListenAndServe(":"+port, mux))
}
