// Orders takes orders, and is not always well: FAIL_PERCENT of its answers are
// 503 and DELAY holds each up, so that retries, timeouts and outlier ejection
// have something to do.
package main

import (
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/examples/bookstore/shop"
)

func main() {
	version := shop.Env("VERSION", "v1")
	failing, _ := strconv.Atoi(os.Getenv("FAIL_PERCENT"))
	delay, _ := time.ParseDuration(os.Getenv("DELAY"))
	host, _ := os.Hostname()
	instance := shop.Env("WEFT_INSTANCE", host)
	var count atomic.Int64
	mux := http.NewServeMux()
	handle := func(w http.ResponseWriter, r *http.Request) {
		n := count.Add(1)
		time.Sleep(delay)
		w.Header().Set("X-Served-By", instance)
		if rand.IntN(100) < failing {
			http.Error(w, "orders is not well", http.StatusServiceUnavailable)
			return
		}
		shop.JSON(w, http.StatusOK, map[string]any{
			"order": n, "version": version, "instance": instance, "attempt": r.Header.Get("X-Envoy-Attempt-Count"),
		})
	}
	mux.HandleFunc("GET /orders", handle)
	mux.HandleFunc("POST /orders", handle)
	shop.Serve("orders", "9080", mux)
}
