package main

import "fmt"

// On demand, stream i uses the services used(i), used(i+1) …, so that each service
// that is used is used by as many proxies as a proxy uses services.

// used is the k-th of the services that are used: as many as there are streams,
// spread over all.
func (l *load) used(k int) int { return k % l.n * max(1, l.shape.S/l.n) % l.shape.S }

// uses are the services that a stream asks for.
func (l *load) uses(stream int) (out []int) {
	for j := range l.use {
		out = append(out, l.used(stream+j))
	}
	return out
}

// users are the streams that get what changes of a service.
func (l *load) users(svc int) (out []*stream) {
	if l.use == 0 {
		return l.streams
	}
	for _, s := range l.streams {
		for _, u := range l.uses(s.id) {
			if u == svc {
				out = append(out, s)
				break
			}
		}
	}
	return out
}

// virtualHost is what a proxy asks for at the first request to a service.
func virtualHost(svc int) string { return "on-demand/" + host(svc) + ":80" }

// serviceOf is the number of the service that a cluster is of.
func serviceOf(cluster string) (n int, ok bool) {
	_, err := fmt.Sscanf(cluster, "outbound|80||svc-%05d.bench.example", &n)
	return n, err == nil
}
