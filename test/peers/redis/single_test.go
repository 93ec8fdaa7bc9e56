package redis

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const catchAll = "settings: {op_timeout: 5s, enable_command_stats: true}, prefix_routes: {catch_all_route: {cluster: one}}"

// TestOneServer carries commands, pipelines, transactions, waiting commands and subscriptions to one server.
func TestOneServer(t *testing.T) {
	f := weft(t, catchAll, static("one", "type: STATIC,", server(t)))
	c := connect(t, f.listen)
	c.expect("PING", "PONG")
	c.expect("SET a 1", "OK")
	c.expect("GET a", "1")
	c.expect("GET", "-ERR wrong number of arguments for 'get' command")
	c.expect("MSET x 1 y 2 z 3", "OK")
	c.expect("MGET x y none z", "[1 2 nil 3]")
	c.expect("DEL x y none", "2")
	c.expect("EVAL return{KEYS[1],ARGV[1]} 1 k v", "[k v]")
	c.expect("HSET h f v", "1")
	c.expect("HGETALL h", "[f v]")
	c.expect("SHUTDOWN", "-ERR 'shutdown' is not available through the proxy")
	c.expect("NOSUCH k", "-ERR unknown command 'NOSUCH', with args beginning with: 'k' ")
	c.expect("SELECT 3", "OK")
	c.expect("GET a", "nil")
	c.expect("SELECT 0", "OK")
	c.expect("GET a", "1")
	c.expect("ECHO hi", "hi")
	c.expect("DBSIZE", "3")
	c.expect("CONFIG SET maxmemory 1", "-ERR 'config' is not available through the proxy")
	if got := c.do("HELLO 3"); !strings.Contains(got, "proto 3") || got[0] != '%' {
		t.Error(got)
	}
	c.expect("HGETALL h", "%[f v]")
	c.expect("GET none", "nil")

	// Answers in order, whatever answers.
	var lines, want []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("SET k%d %d", i, i), "PING", fmt.Sprintf("MGET k%d none", i))
		want = append(want, "OK", "PONG", fmt.Sprintf("[%d nil]", i))
	}
	if got := c.do(lines...); got != strings.Join(want, "\n") {
		t.Error("pipeline: answers are not those of the commands")
	}
	// What is typed into a telnet.
	if _, err := c.c.Write([]byte("set typed \"two words\"\r\nget typed\r\n")); err != nil {
		t.Fatal(err)
	}
	if a, b := c.read(), c.read(); a != "OK" || b != "two words" {
		t.Error(a, b)
	}
	if n := f.stat(t, "redis.redis.command.get.success"); n < 4 {
		t.Error("get.success:", n)
	}
	if n := f.stat(t, "cluster.one.upstream_commands.set.success"); n < 501 {
		t.Error("upstream_commands.set.success:", n)
	}
	c.expect("QUIT", "OK")
	if got := c.read(); got != "end" {
		t.Error("after QUIT:", got)
	}
}

// TestTransactions has them carried on one connection.
func TestTransactions(t *testing.T) {
	f := weft(t, catchAll, static("one", "type: STATIC,", server(t)))
	c, other := connect(t, f.listen), connect(t, f.listen)
	if got := c.do("SET n 1", "MULTI", "INCR n", "GET n", "EXEC", "GET n"); got != "OK\nOK\nQUEUED\nQUEUED\n[2 2]\n2" {
		t.Errorf("%q", got)
	}
	if got := c.do("MULTI", "EXEC"); got != "OK\n[]" {
		t.Errorf("%q", got)
	}
	if got := c.do("MULTI", "INCR n", "DISCARD", "GET n"); got != "OK\nQUEUED\nOK\n2" {
		t.Errorf("%q", got)
	}
	if got := c.do("MULTI", "NOSUCH k", "EXEC", "GET n"); !strings.HasPrefix(got, "OK\n-ERR unknown command") || !strings.Contains(got, "\n-EXECABORT") {
		t.Errorf("%q", got)
	}
	c.expect("WATCH n", "OK")
	other.expect("INCR n", "3")
	if got := c.do("MULTI", "SET n 100", "EXEC", "GET n"); got != "OK\nQUEUED\nnil\n3" {
		t.Errorf("watched: %q", got)
	}
	if got := c.do("WATCH n", "UNWATCH", "MULTI", "SET n 5", "EXEC"); got != "OK\nOK\nOK\nQUEUED\n[OK]" {
		t.Errorf("%q", got)
	}
	c.expect("EXEC", "-ERR EXEC without MULTI")
}

// TestBlocking has a command wait on a connection of its own while others go on.
func TestBlocking(t *testing.T) {
	addr := server(t)
	f := weft(t, strings.Replace(catchAll, "5s", "0.3s", 1), static("one", "type: STATIC,", addr))
	waiter, other := connect(t, f.listen), connect(t, f.listen)
	waiter.send("BLPOP list 0", "SET after 1") // longer than op_timeout
	direct := goredis.NewClient(&goredis.Options{Addr: addr})
	defer direct.Close()
	until(t, "it waits", func() bool {
		return strings.Contains(direct.Info(context.Background(), "clients").Val(), "blocked_clients:1")
	})
	other.expect("GET after", "nil")
	time.Sleep(400 * time.Millisecond) // op_timeout must not apply: there is nothing to wait for
	other.expect("RPUSH list v", "1")
	if a, b := waiter.read(), waiter.read(); a != "[list v]" || b != "OK" {
		t.Error(a, b)
	}
	// Who has gone takes nothing.
	waiter.send("BLPOP list 0")
	until(t, "it waits", func() bool {
		return strings.Contains(direct.Info(context.Background(), "clients").Val(), "blocked_clients:1")
	})
	waiter.c.Close()
	until(t, "it does not wait", func() bool {
		return strings.Contains(direct.Info(context.Background(), "clients").Val(), "blocked_clients:0")
	})
}

// TestSubscriptions passes messages on, in both versions of the protocol.
func TestSubscriptions(t *testing.T) {
	f := weft(t, catchAll, static("one", sharded, server(t), server(t)))
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			ctx := context.Background()
			c := goredis.NewClient(&goredis.Options{Addr: f.listen, Protocol: proto})
			defer c.Close()
			s := c.Subscribe(ctx, "news", "sport")
			defer s.Close()
			if err := s.PSubscribe(ctx, "weather.*"); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := s.Receive(ctx); err != nil {
					t.Fatal(err)
				}
			}
			for i, ch := range []string{"news", "weather.north", "sport"} {
				if n, err := c.Publish(ctx, ch, i).Result(); err != nil || n != 1 {
					t.Fatal(ch, n, err)
				}
				m, err := s.ReceiveMessage(ctx)
				if err != nil || m.Channel != ch || m.Payload != fmt.Sprint(i) {
					t.Fatal(m, err)
				}
			}
		})
	}
	c := connect(t, f.listen)
	if got := c.do("SUBSCRIBE a", "PING", "GET x", "UNSUBSCRIBE a", "SET x 1"); got !=
		"[subscribe a 1]\n[pong ]\n-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\n[unsubscribe a 0]\nOK" {
		t.Errorf("%q", got)
	}
}

// TestLogin has clients log in to the proxy, and the proxy to the server.
func TestLogin(t *testing.T) {
	addr := server(t, "--requirepass", "upstream")
	cluster := static("one", "type: STATIC,"+login("upstream"), addr)
	f := weft(t, catchAll+", downstream_auth_passwords: [{inline_string: one}, {inline_string: two}]", cluster)
	c := connect(t, f.listen)
	c.expect("GET a", "-NOAUTH Authentication required.")
	c.expect("AUTH wrong", "-WRONGPASS invalid username-password pair")
	c.expect("AUTH two", "OK")
	c.expect("SET a 1", "OK")
	g := goredis.NewClient(&goredis.Options{Addr: f.listen, Password: "one"})
	defer g.Close()
	if v, err := g.Get(context.Background(), "a").Result(); err != nil || v != "1" {
		t.Error(v, err)
	}
	// A long command of somebody unknown.
	c = connect(t, f.listen)
	fmt.Fprintf(c.c, "*2\r\n$3\r\nGET\r\n$100000\r\n")
	if got := c.read(); got != "-ERR Protocol error: invalid bulk length" {
		t.Error(got)
	}
	named := weft(t, catchAll+", downstream_auth_passwords: [{inline_string: p}], downstream_auth_username: {inline_string: u}", cluster)
	c = connect(t, named.listen)
	c.expect("AUTH p", "-WRONGPASS invalid username-password pair")
	c.expect("AUTH u p", "OK")
	c.expect("GET a", "1")
	wrong := weft(t, catchAll, static("one", "type: STATIC,"+login("wrong"), addr))
	connect(t, wrong.listen).expect("GET a", "-ERR upstream refused the connection: WRONGPASS invalid username-password pair or user is disabled.")
	open := weft(t, catchAll, static("one", "type: STATIC,", addr))
	c = connect(t, open.listen) // a login of the server's own goes on to it
	c.expect("GET a", "-NOAUTH Authentication required.")
	c.expect("AUTH x", "-WRONGPASS invalid username-password pair or user is disabled.")
	if got := c.do("AUTH upstream", "GET a"); got != "OK\n1" {
		t.Errorf("%q", got)
	}
	connect(t, open.listen).expect("GET a", "-NOAUTH Authentication required.")
	c = connect(t, f.listen)
	c.expect("AUTH default one", "OK")
}

// TestGarbage has nonsense answered, and the connection ended.
func TestGarbage(t *testing.T) {
	f := weft(t, catchAll, static("one", "type: STATIC,", server(t)))
	for _, g := range []string{"*1\r\n!3\r\n", "*-\r\n", "*2000000\r\n", "*1\r\n$-5\r\n", "*1\r\n$3\r\nGETxx", "*1\r\n$99999999999\r\n", "\"open\r\n", strings.Repeat("x", 70_000)} {
		c := connect(t, f.listen)
		if _, err := c.c.Write([]byte(g)); err != nil {
			t.Fatal(err)
		}
		if got := c.read(); !strings.HasPrefix(got, "-ERR Protocol error: ") {
			t.Errorf("%.20q: %q", g, got)
		}
	}
	// Resets in the middle of things.
	for _, part := range []string{"*", "*2\r\n$3\r\nGET\r\n$1\r", "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n"} {
		c := connect(t, f.listen)
		fmt.Fprint(c.c, part)
		_ = c.c.(*net.TCPConn).SetLinger(0)
		c.c.Close()
	}
	connect(t, f.listen).expect("PING", "PONG")
	until(t, "all have gone", func() bool { return f.stat(t, "redis.redis.downstream_cx_active") <= 1 })
}

// TestLarge passes values of many sizes, also to a client that reads slowly.
func TestLarge(t *testing.T) {
	f := weft(t, catchAll, static("one", "type: STATIC,", server(t)))
	c := goredis.NewClient(&goredis.Options{Addr: f.listen, ReadTimeout: patience, WriteTimeout: patience})
	defer c.Close()
	ctx := context.Background()
	for _, n := range []int{0, 1, 16 << 10, 100_000, 5 << 20} {
		v := strings.Repeat("v", n)
		if err := c.Set(ctx, "k", v, 0).Err(); err != nil {
			t.Fatal(n, err)
		}
		if got, err := c.Get(ctx, "k").Result(); err != nil || got != v {
			t.Fatal(n, len(got), err)
		}
	}
	raw := connect(t, f.listen)
	const times = 20
	lines := make([]string, times)
	for i := range lines {
		lines[i] = "GET k"
	}
	raw.send(lines...)
	for range times {
		if got := raw.read(); len(got) != 5<<20 {
			t.Fatal(len(got))
		}
	}
}
