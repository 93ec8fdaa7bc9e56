// Command adsload loads an xDS control plane as a fleet of Envoys would: it opens
// streams as sidecar proxies, changes one endpoint (or route) at a time in the
// control plane's configuration, and measures how long the change takes to reach
// every stream and what the control plane spends on it. It knows nothing of which
// control plane it is: istiod and Weft's are measured alike.
//
//	adsload gen   write a configuration: services with endpoints and routes
//	adsload run   open streams, change, measure
//	adsload mcp   serve a configuration as an MCP-over-XDS source
//	adsload check subscribe once as one sidecar and show what comes
//	adsload weft  gen and run against `weft control`, which it starts
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	commands := map[string]func(context.Context, []string) error{"gen": genMain, "run": runMain, "mcp": mcpMain, "check": checkMain, "weft": weftMain}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: adsload gen|run|mcp|check|weft [flags]   (-h after the word for its flags)")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "adsload:", err)
		os.Exit(1)
	}
}
