package redis

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// keysOf counts the keys of a server.
func keysOf(t *testing.T, addr string) int {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	defer c.Close()
	n, err := c.DBSize(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestSharded shares keys out among servers, and splits and joins commands of many keys.
func TestSharded(t *testing.T) {
	a, b, d := server(t), server(t), server(t)
	f := weft(t, "settings: {op_timeout: 5s, enable_hashtagging: true}, prefix_routes: {catch_all_route: {cluster: one}}", static("one", sharded, a, b, d))
	c := connect(t, f.listen)
	var mset, keys, values []string
	for i := range 200 {
		k := fmt.Sprint("key", i)
		mset, keys, values = append(mset, k, fmt.Sprint(i)), append(keys, k), append(values, fmt.Sprint(i))
	}
	c.expect("MSET "+strings.Join(mset, " "), "OK")
	for _, s := range []string{a, b, d} {
		if n := keysOf(t, s); n < 30 {
			t.Errorf("%s has %d keys of 200", s, n)
		}
	}
	c.expect("MGET "+strings.Join(keys, " "), "["+strings.Join(values, " ")+"]")
	c.expect("EXISTS "+strings.Join(keys, " ")+" none", "200")
	c.expect("DBSIZE", "200")
	g := goredis.NewClient(&goredis.Options{Addr: f.listen})
	defer g.Close()
	ctx, seen := context.Background(), map[string]bool{}
	for it := g.Scan(ctx, 0, "key*", 10).Iterator(); it.Next(ctx); {
		seen[it.Val()] = true
	}
	if len(seen) != 200 {
		t.Errorf("SCAN has seen %d keys", len(seen))
	}
	if all, err := g.Keys(ctx, "*").Result(); err != nil || len(all) != 200 {
		t.Error(len(all), err)
	}
	// Keys that have to be together: by their tags, or not at all.
	c.expect("MSET {t}x 1 {t}y 2", "OK")
	c.expect("RENAME {t}x {t}z", "OK")
	if got := c.do("SUNION key1 key2 key3 key4 key5 key6"); !strings.HasPrefix(got, "-CROSSSLOT") {
		t.Error(got)
	}
	if got := c.do("MULTI", "GET key1", "GET key2", "GET key3", "GET key4", "GET key5", "EXEC"); !strings.HasPrefix(got, "OK\nQUEUED\n") || !strings.HasSuffix(got, "\n-EXECABORT Transaction discarded because of previous errors.") {
		t.Errorf("%q", got)
	}
	c.expect("DEL "+strings.Join(keys, " "), "200")
	c.expect("FLUSHALL", "OK")
	c.expect("DBSIZE", "0")
}

// TestRoutes chooses clusters by prefixes, sends copies, and makes clients suffer.
func TestRoutes(t *testing.T) {
	a, b, m := server(t), server(t), server(t)
	f := weft(t, `settings: {op_timeout: 5s}, prefix_routes: {case_insensitive: true,
          routes: [{prefix: "a:", remove_prefix: true, cluster: one}, {prefix: "a:b:", cluster: two, key_formatter: "<%KEY%>"},
                   {prefix: "m:", cluster: one, request_mirror_policy: [{cluster: copy, exclude_read_commands: true}]},
                   {prefix: "never:", cluster: one, request_mirror_policy: [{cluster: copy, runtime_fraction: {default_value: {numerator: 0}}}]}]},
          faults: [{fault_type: ERROR, fault_enabled: {default_value: {numerator: 100}}, commands: [INCR]}, {fault_type: DELAY, fault_enabled: {default_value: {numerator: 100}}, delay: 0.3s, commands: [DECR]}]`,
		static("one", sharded, a)+static("two", sharded, b)+static("copy", sharded, m))
	c, da, db, dm := connect(t, f.listen), connect(t, a), connect(t, b), connect(t, m)
	c.expect("SET a:k 1", "OK")
	da.expect("GET k", "1")
	c.expect("SET A:b:k 2", "OK")
	db.expect("GET <A:b:k>", "2")
	c.expect("MGET a:k a:b:none A:B:k", "[1 nil nil]")
	c.expect("SET other 1", "-ERR no upstream host: no route has a prefix of the key")
	c.expect("MSET m:x 1 m:y 2", "OK")
	c.expect("SET never:x 1", "OK")
	until(t, "copies have come", func() bool { return dm.do("MGET m:x m:y") == "[1 2]" })
	dm.expect("GET never:x", "nil")
	dm.expect("SET m:x copied", "OK")
	c.expect("GET m:x", "1")
	c.expect("INCR a:n", "-ERR Fault Injected: Error")
	start := time.Now()
	if got := c.do("DECR a:n", "GET a:n"); got != "-1\n-1" || time.Since(start) < 300*time.Millisecond {
		t.Errorf("%q after %v", got, time.Since(start))
	}
}

// TestServerDies has reads go on elsewhere, and everything again when the server is back.
func TestServerDies(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	_ = ln.Close()
	f := weft(t, strings.Replace(catchAll, "5s", "0.5s", 1), static("one", "type: STATIC, lb_policy: RANDOM,", server(t), gone))
	c := connect(t, f.listen)
	for range 50 {
		if got := c.do("GET k"); got != "nil" && !strings.Contains(got, "upstream connection failed") {
			t.Fatal(got)
		}
	}
	// One that says nothing.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	go func() {
		for {
			if _, err := mute.Accept(); err != nil {
				return
			}
		}
	}()
	f = weft(t, strings.Replace(catchAll, "5s", "0.5s", 1), static("one", "type: STATIC,", mute.Addr().String()))
	connect(t, f.listen).expect("SET k v", "-ERR upstream timeout")
}

// redisCluster makes a cluster of n primaries, each with a replica.
func redisCluster(t *testing.T, n int) (all []string) {
	t.Helper()
	for range 2 * n {
		all = append(all, server(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-announce-ip", "127.0.0.1", "--repl-diskless-sync-delay", "0"))
	}
	args := append([]string{"--cluster", "create"}, all...)
	out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, a := range all {
		c := connect(t, a)
		until(t, "the cluster is complete", func() bool { return strings.Contains(c.do("CLUSTER INFO"), "cluster_state:ok") })
	}
	return all
}

// TestCluster follows a Redis cluster: slots, commands of many keys, replicas, slots that move, a primary that dies.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes six servers")
	}
	all := redisCluster(t, 3)
	f := weft(t, "settings: {op_timeout: 5s, enable_redirection: true, read_policy: PREFER_REPLICA}, prefix_routes: {catch_all_route: {cluster: one}}", static("one", ownRing, all[0]))
	c := connect(t, f.listen)
	until(t, "the topology is known", func() bool { return c.do("SET warm up") == "OK" })
	var mset, keys, values []string
	for i := range 100 {
		k := fmt.Sprint("key", i)
		mset, keys, values = append(mset, k, fmt.Sprint(i)), append(keys, k), append(values, fmt.Sprint(i))
	}
	c.expect("MSET "+strings.Join(mset, " "), "OK")
	until(t, "replicas have it", func() bool {
		return c.do("MGET "+strings.Join(keys, " ")) == "["+strings.Join(values, " ")+"]"
	})
	c.expect("EXISTS "+strings.Join(keys, " "), "100")
	if got := c.do("MULTI", "SET {u}1 a", "GET {u}1", "EXEC"); got != "OK\nQUEUED\nQUEUED\n[OK a]" {
		t.Errorf("%q", got)
	}
	until(t, "all replicas have answered reads", func() bool {
		c.do("MGET " + strings.Join(keys, " "))
		reads := 0
		for _, a := range all {
			if info := connect(t, a).do("INFO all"); strings.Contains(info, "role:slave") && strings.Contains(info, "cmdstat_mget:") {
				reads++
			}
		}
		return reads == 3
	})
	move(t, all[:3], "key1")
	c.expect("SET key1 moved", "OK")
	until(t, "replicas have it", func() bool { return c.do("GET key1") == "moved" })
}

// move moves the slot of a key to another primary, as a resharding does, and leaves it half done for a while.
func move(t *testing.T, primaries []string, key string) {
	t.Helper()
	slot := connect(t, primaries[0]).do("CLUSTER KEYSLOT " + key)
	var from, to *client
	var toAddr, fromID, toID string
	for _, a := range primaries {
		c := connect(t, a)
		id := c.do("CLUSTER MYID")
		if got := c.do("CLUSTER COUNTKEYSINSLOT " + slot); got != "0" {
			from, fromID = c, id
		} else if to == nil {
			to, toID, toAddr = c, id, a
		}
	}
	if from == nil || to == nil {
		t.Fatal("nobody has the key")
	}
	to.expect("CLUSTER SETSLOT "+slot+" IMPORTING "+fromID, "OK")
	from.expect("CLUSTER SETSLOT "+slot+" MIGRATING "+toID, "OK")
	host, port, _ := net.SplitHostPort(toAddr)
	for range 100 {
		left := strings.Fields(strings.Trim(from.do("CLUSTER GETKEYSINSLOT "+slot+" 100"), "[]"))
		if len(left) == 0 {
			break
		}
		for _, k := range left {
			from.expect("MIGRATE "+host+" "+port+" "+k+" 0 5000", "OK")
		}
	}
	to.expect("CLUSTER SETSLOT "+slot+" NODE "+toID, "OK")
	from.expect("CLUSTER SETSLOT "+slot+" NODE "+toID, "OK")
}

// TestAsEnvoy plays the same commands through both proxies.
func TestAsEnvoy(t *testing.T) {
	addrs := []string{server(t), server(t)}
	filter := `settings: {op_timeout: 5s, enable_hashtagging: true}, prefix_routes: {routes: [{prefix: "p:", remove_prefix: true, cluster: one}], catch_all_route: {cluster: one}},
          faults: [{fault_type: ERROR, fault_enabled: {default_value: {numerator: 100}}, commands: [GETSET]}], downstream_auth_passwords: [{inline_string: pw}]`
	clusters := static("one", sharded, addrs...)
	theirs, ours := envoy(t, filter, clusters), weft(t, filter, clusters)
	script := []string{
		"PING", "AUTH wrong", "AUTH pw", "PING", "SET k v", "GET k", "MSET a 1 b 2 c 3 d 4", "MGET a b c d none", "DEL a b none", "EXISTS a b c d", "TOUCH c d", "UNLINK c d",
		"INCR n", "INCR k", "GETSET k w", "GET", "HSET h f v", "HGETALL h", "LPUSH l 1 2 3", "LRANGE l 0 -1", "SADD s a", "ZADD z 1 a", "ZRANGE z 0 -1", "SET p:x 1", "GET x",
		"EVAL return{KEYS[1],ARGV[1]} 1 k v", "SETEX e 100 v", "TYPE e", "ECHO hi", "MULTI", "SET {t}1 a", "GET {t}1", "EXEC", "MULTI", "DISCARD", "QUIT",
	}
	// What is meant to be different: the words of errors of the proxies' own.
	words := map[string]string{"AUTH wrong": "-", "GETSET k w": "-", "GET": "-"}
	a, b := connect(t, theirs.listen), connect(t, ours.listen)
	for _, line := range script {
		x := a.do(line)
		if line == "INCR n" { // both count at the same server
			connect(t, theirs.listen).do("AUTH pw", "DEL n")
		}
		y := b.do(line)
		if line == "INCR n" || line == "MULTI" || strings.HasPrefix(line, "DEL") || strings.HasPrefix(line, "UNLINK") || line == "HSET h f v" ||
			strings.HasPrefix(line, "LPUSH") || strings.HasPrefix(line, "SADD") || strings.HasPrefix(line, "ZADD") || strings.HasPrefix(line, "LRANGE") || strings.HasPrefix(line, "EXISTS") || strings.HasPrefix(line, "TOUCH") {
			continue // the second of two is told something else
		}
		if p := words[line]; p != "" && strings.HasPrefix(x, p) && strings.HasPrefix(y, p) {
			continue
		}
		if x != y {
			t.Errorf("%s: Envoy says %q, Weft %q", line, x, y)
		}
	}
	// The same keys are at the same servers.
	for i := range 50 {
		k := fmt.Sprint("at", i)
		c := connect(t, theirs.listen)
		if got := c.do("AUTH pw", "SET "+k+" 1"); got != "OK\nOK" {
			t.Fatal(got)
		}
		c = connect(t, ours.listen)
		if got := c.do("AUTH pw", "GET "+k); got != "OK\n1" {
			t.Errorf("%s is elsewhere: %q", k, got)
		}
		c.c.Close()
	}
}

// BenchmarkProxies compares CPU seconds of each proxy process under the same redis-benchmark. WEFT_PROXY is a weft-proxy binary.
func BenchmarkProxies(b *testing.B) {
	bin := os.Getenv("WEFT_PROXY")
	if bin == "" || os.Getenv("WEFT_ENVOY") == "" {
		b.Skip("WEFT_PROXY and WEFT_ENVOY name the proxies")
	}
	addr := server(b)
	clusters := static("one", sharded, addr)
	for _, pipeline := range []string{"1", "16"} {
		for name, cmd := range map[string][]string{
			"Envoy": {os.Getenv("WEFT_ENVOY"), "--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"}, "Weft": {bin, "-c"},
		} {
			b.Run(name+"/P"+pipeline, func(b *testing.B) {
				f := front{listenAddr(b), listenAddr(b)}
				p := exec.Command(cmd[0], append(cmd[1:], write(b, config(f, catchAll, clusters)))...)
				p.Env = append(os.Environ(), "GOMAXPROCS=1")
				if err := p.Start(); err != nil {
					b.Fatal(err)
				}
				defer func() {
					_ = p.Process.Kill()
					_ = p.Wait()
				}()
				ready(b, f)
				host, port, _ := net.SplitHostPort(f.listen)
				n := 60_000
				before := cpu(b, p.Process.Pid)
				out, err := exec.Command("redis-benchmark", "-h", host, "-p", port, "-c", "50", "-P", pipeline, "-n", fmt.Sprint(n), "-t", "set,get", "-q").CombinedOutput()
				if err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				b.ReportMetric(float64((cpu(b, p.Process.Pid)-before).Microseconds())/float64(2*n), "cpu-µs/request")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func listenAddr(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// cpu is the time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	line, _ := bufio.NewReader(file).ReadString('\n')
	f := strings.Fields(line[strings.LastIndex(line, ")")+2:])
	var user, system int
	_, _ = fmt.Sscan(f[11], &user)
	_, _ = fmt.Sscan(f[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
