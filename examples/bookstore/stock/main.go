// Stock is the bookstore's database: redis-server where it is installed, else
// a small server of the same protocol in this program, so that the example
// needs nothing but Go.
package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/weftmesh/weft/examples/bookstore/shop"
	"github.com/weftmesh/weft/examples/bookstore/stock/resp"
)

// first is what the shop begins with.
var first = map[string]string{"stars:loom": "4", "stars:warp": "2", "stars:weft": "5", "stars:mesh": "3"}

func main() {
	if path, err := exec.LookPath("redis-server"); err == nil && os.Getenv("STOCK_BUILTIN") == "" {
		runRedis(path)
		return
	}
	l := shop.Listen("stock (built in)", "6379")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		l.Close()
	}()
	serve(l)
}

// runRedis becomes redis-server, after the first data have been written by a
// helper that waits for it.
func runRedis(path string) {
	port := shop.Env("PORT", "6379")
	log.Printf("stock: running %s", path)
	cmd := exec.Command(path, "--port", port, "--bind", "* -::*", "--protected-mode", "no", "--save", "", "--appendonly", "no")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.Start(); err != nil {
		log.Fatalf("stock: %v", err)
	}
	go func() {
		<-ctx.Done()
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}()
	go fill(ctx, net.JoinHostPort("127.0.0.1", port))
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		log.Fatalf("stock: redis-server ended: %v", err)
	}
}

func fill(ctx context.Context, addr string) {
	c := resp.NewClient(addr)
	for k, v := range first {
		for {
			_, err := c.Do(ctx, "SET", k, v)
			if err == nil || ctx.Err() != nil {
				break
			}
		}
	}
}

// store is the built-in database.
type store struct {
	mu   sync.Mutex
	data map[string]string
}

func serve(l net.Listener) {
	s := &store{data: map[string]string{}}
	for k, v := range first {
		s.data[k] = v
	}
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Fatalf("stock: %v", err)
		}
		go s.talk(c)
	}
}

func (s *store) talk(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		args, err := resp.ReadCommand(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_, _ = io.WriteString(c, "-ERR Protocol error: "+err.Error()+"\r\n")
			}
			return
		}
		if _, err := io.WriteString(c, s.run(args)); err != nil {
			return
		}
	}
}

func (s *store) run(args []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name := strings.ToUpper(args[0]); {
	case name == "PING" && len(args) == 1:
		return "+PONG\r\n"
	case name == "GET" && len(args) == 2:
		v, ok := s.data[args[1]]
		if !ok {
			return "$-1\r\n"
		}
		return string(resp.Command(v)[len("*1\r\n"):])
	case name == "SET" && len(args) == 3:
		s.data[args[1]] = args[2]
		return "+OK\r\n"
	default:
		return "-ERR unknown command or wrong number of arguments for '" + args[0] + "'\r\n"
	}
}
