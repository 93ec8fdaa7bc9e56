package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// workload is one line of the table.
type workload struct {
	name string
	// work is how many units a round has: requests, or megabytes.
	work int
	unit string
	// hops is how many proxies follow the first.
	hops int
	// serve starts the upstream, drive does the work and returns latencies.
	serve func() (upstream, error)
	drive func(ctx context.Context, addr string, n int) ([]time.Duration, error)
	// Configurations of the proxies in a row; nil: the engine is left out. envoy
	// is what only Envoy reads, nil: the same as the others.
	bootstraps, envoy, nginx, haproxy func(ports []int, up, dir string) []string
	// alone: there is nothing like it in Envoy.
	alone bool
}

// upstream is a server to proxy to.
type upstream interface {
	io.Closer
	Addr() string
}

// What a unit of work is, where it is no request.
const (
	unitGB = "GB" // a megabyte; shown per gigabyte
	unitMB = "MB" // a connection that stays open: memory is measured
)

func (w workload) show(s sample) string {
	switch w.unit {
	case unitGB:
		return fmt.Sprintf("%d ms/GB, %.1f GB/s", s.cpu.Microseconds(), float64(time.Millisecond)/float64(s.wall))
	case unitMB:
		return fmt.Sprintf("%.1f / %.1f MB", s.resident, s.private)
	}
	return fmt.Sprintf("%.1f µs", float64(s.cpu.Nanoseconds())/1000)
}

// ratio is how many times better Weft is.
func (w workload) ratio(envoy, weft sample) string {
	cpu := float64(envoy.cpu) / float64(weft.cpu)
	switch w.unit {
	case unitGB:
		return fmt.Sprintf("%.1f, %.1f", cpu, float64(envoy.wall)/float64(weft.wall))
	case unitMB:
		return fmt.Sprintf("%.1f / %.1f", envoy.resident/weft.resident, envoy.private/weft.private)
	}
	return fmt.Sprintf("%.1f", cpu)
}

// The protocols of messages that are measured.
var redis, dubbo, thrift, quote = redisDialogue(), dubboDialogue(), thriftDialogue(), quoteDialogue()

var workloads = []workload{
	{
		name: "HTTP/1.1 1 KiB, 32 connections", work: 60000, serve: http1Server(1 << 10), drive: closedLoop(32, request),
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
	{
		name: "HTTP/1.1 1 KiB, 256 connections", work: 60000, serve: http1Server(1 << 10), drive: closedLoop(256, request),
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
	{
		name: "HTTP/1.1 64 KiB, 32 connections", work: 15000, serve: http1Server(64 << 10), drive: closedLoop(32, request),
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
	{
		name: "mTLS pair, 1 KiB, 32 connections", work: 30000, hops: 1, serve: http1Server(1 << 10), drive: closedLoop(32, request),
		bootstraps: pairBootstraps,
	},
	{
		name: "HTTP/2 unary, 8 connections × 1", work: 20000, serve: http2Server(1 << 10), drive: http2Loop(8, 1),
		bootstraps: httpBootstrap(true),
	},
	{
		name: "HTTP/2 unary, 8 × 10", work: 30000, serve: http2Server(1 << 10), drive: http2Loop(8, 10),
		bootstraps: httpBootstrap(true),
	},
	{
		name: "HTTP/2 64 KiB, 8 × 4", work: 8000, serve: http2Server(64 << 10), drive: http2Loop(8, 4),
		bootstraps: httpBootstrap(true),
	},
	{
		name: "HTTP/2 bulk, bodies of 64 MiB", work: 2000, unit: unitGB, serve: http2Server(bulkBody), drive: http2Bulk(false),
		bootstraps: httpBootstrap(true),
	},
	{
		name: "HTTP/2 bulk upload, bodies of 64 MiB", work: 2000, unit: unitGB, serve: http2Server(0), drive: http2Bulk(true),
		bootstraps: httpBootstrap(true),
	},
	{
		name: "HTTP/1.1 1 KiB, policies, 32 connections", work: 40000, serve: http1Server(1 << 10), drive: closedLoop(32, tokenRequest),
		bootstraps: fullBootstrap(""),
	},
	{
		name: "the same, Envoy's metrics by label too", work: 40000, serve: http1Server(1 << 10), drive: closedLoop(32, tokenRequest),
		bootstraps: fullBootstrap(""), envoy: fullBootstrap(statsLogger()),
	},
	{
		name: "HTTP/1.1 open loop, 1000/s", work: 4000, serve: http1Server(1 << 10), drive: openLoop(1000),
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
	{
		name: "TCP bulk, 8 connections", work: 3000, unit: unitGB, serve: bulkServer, drive: bulk(8),
		bootstraps: tcpBootstrap,
	},
	{
		name: "new mTLS connections, 90 % resumed", work: 1000, serve: http1Server(64), drive: handshakes,
		bootstraps: serverBootstrap,
	},
	{
		name: "the same, X25519 without ML-KEM", work: 1000, serve: http1Server(64), drive: handshakes,
		bootstraps: classicBootstrap,
	},
	{
		name: "Redis GET, 32 connections", work: 100000, serve: redis.serve, drive: redis.drive(32, 1), bootstraps: redisBootstrap,
	},
	{
		name: "Redis GET, 256 connections", work: 100000, serve: redis.serve, drive: redis.drive(256, 1), bootstraps: redisBootstrap,
	},
	{
		name: "Redis GET, 32 × pipelines of 16", work: 600000, serve: redis.serve, drive: redis.drive(32, 16), bootstraps: redisBootstrap,
	},
	{
		name: "Dubbo, 32 connections", work: 60000, serve: dubbo.serve, drive: dubbo.drive(32, 1),
		bootstraps: messageBootstrap("dubbo", "", dubboRoutes()), envoy: envoyDubbo,
	},
	{
		name: "Dubbo, 8 connections × 10", work: 60000, serve: dubbo.serve, drive: dubbo.drive(8, 10),
		bootstraps: messageBootstrap("dubbo", "", dubboRoutes()), envoy: envoyDubbo,
	},
	{
		name: "Thrift, 32 connections", work: 60000, serve: thrift.serve, drive: thrift.drive(32, 1),
		bootstraps: messageBootstrap("thrift", "", thriftRoutes()), envoy: envoyThrift,
	},
	{
		name: "private protocol, written codec, 32 connections", work: 60000, serve: quote.serve, drive: quote.drive(32, 1),
		bootstraps: messageBootstrap("quote", "", quoteRoutes), alone: true,
	},
	{
		name: "private protocol, declared, 32 connections", work: 60000, serve: quote.serve, drive: quote.drive(32, 1),
		bootstraps: messageBootstrap("declared", quoteDeclared, quoteRoutes), alone: true,
	},
	{
		name: "private protocol, written codec, 8 × 10", work: 60000, serve: quote.serve, drive: quote.drive(8, 10),
		bootstraps: messageBootstrap("quote", "", quoteRoutes), alone: true,
	},
	{
		name: "private protocol, declared, 8 × 10", work: 60000, serve: quote.serve, drive: quote.drive(8, 10),
		bootstraps: messageBootstrap("declared", quoteDeclared, quoteRoutes), alone: true,
	},
	{
		name: "idle: resident / private", work: 1, unit: unitMB, serve: http1Server(64), drive: hold,
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
	{
		name: "1000 idle mTLS connections", work: 1000, unit: unitMB, serve: http1Server(64), drive: holdTLS,
		bootstraps: serverBootstrap,
	},
	{
		name: "1000 idle connections", work: 1000, unit: unitMB, serve: http1Server(64), drive: hold,
		bootstraps: httpBootstrap(false), nginx: nginxHTTP, haproxy: haproxyHTTP,
	},
}
