package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// shape says how many services and endpoints a generated configuration has.
type shape struct {
	S, E    int
	NS      string
	VIP, DR bool
	PerFile int
}

func host(i int) string { return fmt.Sprintf("svc-%05d.bench.example", i) }

// epAddr gives endpoint e of service s its own address in 11.0.0.0/8.
func epAddr(s, e, perSvc int) string {
	n := s*perSvc + e + 1
	return fmt.Sprintf("11.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

func (c shape) serviceEntry(i int, lastAddr string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: svc-%05d
  namespace: %s
spec:
  hosts: [%s]
`, i, c.NS, host(i))
	if c.VIP {
		fmt.Fprintf(&b, "  addresses: [12.%d.%d.%d]\n", i>>16&255, i>>8&255, i&255)
	}
	b.WriteString(`  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP}
  endpoints:
`)
	for e := range c.E {
		a := epAddr(i, e, c.E)
		if e == c.E-1 && lastAddr != "" {
			a = lastAddr
		}
		fmt.Fprintf(&b, "  - {address: %s, labels: {app: svc-%05d, version: v%d}}\n", a, i, e%2+1)
	}
	return b.String()
}

func (c shape) virtualService(i int, routeMark string) string {
	if routeMark == "" {
		routeMark = "/v2/"
	}
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: svc-%05d
  namespace: %s
spec:
  hosts: [%s]
  http:
  - match: [{uri: {prefix: %s}}]
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,reset"}
    route: [{destination: {host: %s, port: {number: 80}}}]
  - route: [{destination: {host: %s, port: {number: 80}}}]
`, i, c.NS, host(i), routeMark, host(i), host(i))
}

func (c shape) destinationRule(i int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: svc-%05d
  namespace: %s
spec:
  host: %s
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
    connectionPool: {tcp: {maxConnections: 1000}}
`, i, c.NS, host(i))
}

// service is the text of one service's documents.
func (c shape) service(i int, lastAddr, routeMark string) string {
	t := c.serviceEntry(i, lastAddr) + "---\n" + c.virtualService(i, routeMark)
	if c.DR {
		t += "---\n" + c.destinationRule(i)
	}
	return t
}

func (c shape) fileOf(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("svc-%05d.yaml", i/c.PerFile))
}

// fileText is the text of the file that holds service i, with i's last
// endpoint and route mark replaced.
func (c shape) fileText(i int, lastAddr, routeMark string) string {
	var parts []string
	for j := i / c.PerFile * c.PerFile; j < (i/c.PerFile+1)*c.PerFile && j < c.S; j++ {
		if j == i {
			parts = append(parts, c.service(j, lastAddr, routeMark))
		} else {
			parts = append(parts, c.service(j, "", ""))
		}
	}
	return strings.Join(parts, "---\n")
}

// replaceFile writes text beside dir (not in it, so no half-written file is
// seen) and renames it into place.
func replaceFile(path, text string) error {
	tmp := filepath.Join(filepath.Dir(filepath.Dir(path)), ".adsload.tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func shapeFlags(fs *flag.FlagSet) *shape {
	c := &shape{}
	fs.IntVar(&c.S, "s", 100, "number of services (ServiceEntry + VirtualService each)")
	fs.IntVar(&c.E, "e", 10, "endpoints per service")
	fs.StringVar(&c.NS, "ns", "bench", "namespace of the generated config")
	fs.BoolVar(&c.VIP, "vip", false, "give each ServiceEntry an address (VIP)")
	fs.BoolVar(&c.DR, "dr", false, "add a DestinationRule for each service")
	fs.IntVar(&c.PerFile, "per-file", 1, "services per YAML file")
	return c
}

func genMain(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("gen", flag.ContinueOnError)
	c := shapeFlags(fs)
	dir := fs.String("dir", "", "directory to write (emptied of *.yaml first)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("gen: -dir is needed")
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(*dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	n, bytes := 0, 0
	for i := 0; i < c.S; i += c.PerFile {
		t := c.fileText(i, "", "")
		if err := os.WriteFile(c.fileOf(*dir, i), []byte(t), 0o644); err != nil {
			return err
		}
		n++
		bytes += len(t)
	}
	fmt.Printf("wrote %d files, %d bytes, %d services x %d endpoints to %s\n", n, bytes, c.S, c.E, *dir)
	return nil
}
