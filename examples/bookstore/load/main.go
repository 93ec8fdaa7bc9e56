// Load calls the shop as customers do, at a steady rate, and says each ten
// seconds how that went.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/examples/bookstore/shop"
)

func main() {
	target := shop.Env("TARGET", "http://web:8080/api/books")
	rate, err := strconv.ParseFloat(shop.Env("RATE", "10"), 64)
	if err != nil || rate <= 0 {
		log.Fatalf("load: RATE must be requests per second, got %q", os.Getenv("RATE"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := &http.Client{Timeout: 10 * time.Second}
	var good, bad atomic.Int64
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	report := time.NewTicker(10 * time.Second)
	defer report.Stop()
	log.Printf("load: %g requests/s to %s", rate, target)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			go func() {
				if call(ctx, client, target) {
					good.Add(1)
				} else {
					bad.Add(1)
				}
			}()
		case <-report.C:
			log.Printf("load: %d good, %d bad", good.Swap(0), bad.Swap(0))
		}
	}
}

func call(ctx context.Context, c *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}
