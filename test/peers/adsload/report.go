package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// dist is a few numbers of a set of durations, in milliseconds.
type dist struct{ Min, P50, P90, P99, Max, Mean float64 }

func distOf(d []time.Duration) (o dist) {
	if len(d) == 0 {
		return o
	}
	d = slices.Clone(d)
	slices.Sort(d)
	at := func(q float64) float64 { return ms(d[min(len(d)-1, int(q*float64(len(d))))]) }
	var sum time.Duration
	for _, x := range d {
		sum += x
	}
	return dist{ms(d[0]), at(.5), at(.9), at(.99), ms(d[len(d)-1]), ms(sum / time.Duration(len(d)))}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()/10) / 100 }

// String shows all but the mean.
func (d dist) String() string {
	return fmt.Sprintf("min %.1f p50 %.1f p90 %.1f p99 %.1f max %.1f ms", d.Min, d.P50, d.P90, d.P99, d.Max)
}

// roundResult is what one change did.
type roundResult struct {
	Service, Missed int
	Lat             dist
	CPU, ClientCPU  float64 // seconds, from the change until all has settled
	Got             snapshot
	RSS, PeakRSS    float64 // MiB
	Other           float64 // cores that other processes used while the change travelled
	lats            []time.Duration
}

// result is a run.
type result struct {
	Label, Addr, Proto, Change, Source string
	S, E, N, Use, Rounds               int
	// MiB.
	IdleRSS, WarmRSS, WarmPeakRSS, EndRSS, HWM float64
	FirstPushWall                              float64 // ms until the last stream has everything
	FirstPush                                  dist    // per stream, from its own start
	FirstCPU, FirstClientCPU, IdleCPUPerSec    float64 // seconds
	Reconnects                                 int64
	First                                      snapshot
	Push, PushLast                             dist // all streams of all rounds, the last stream of each round
	Quiet                                      int  // rounds in which the machine had little else to do
	PushQuiet, PushLastQuiet                   dist // the same of those
	CPUPerPush, ClientCPUPerPush               float64
	PerRound                                   []roundResult
	Types                                      []string
	Reconnect                                  reconnectResult
	Storm                                      stormResult
}

// add takes a round in.
func (r *result) add(rr *roundResult, i int) {
	r.CPUPerPush += rr.CPU / float64(r.Rounds)
	r.ClientCPUPerPush += rr.ClientCPU / float64(r.Rounds)
	r.PerRound = append(r.PerRound, *rr)
	fmt.Printf("round %d: %v missed %d; server CPU %.2f s client %.2f s RSS %.0f peak %.0f MiB; others used %.2f cores\n",
		i, rr.Lat, rr.Missed, rr.CPU, rr.ClientCPU, rr.RSS, rr.PeakRSS, rr.Other)
	if i == 0 || rr.Missed > 0 {
		printSnap("  received", rr.Got, r.N)
	}
}

// sumUp makes the numbers of all rounds; one is quiet when others used fewer cores than that.
func (r *result) sumUp(quiet float64) {
	var all, lasts, allQuiet, lastsQuiet []time.Duration
	for _, rr := range r.PerRound {
		all = append(all, rr.lats...)
		if rr.Missed > 0 {
			continue
		}
		last := slices.Max(rr.lats)
		lasts = append(lasts, last)
		if rr.Other < quiet {
			r.Quiet++
			allQuiet, lastsQuiet = append(allQuiet, rr.lats...), append(lastsQuiet, last)
		}
	}
	r.Push, r.PushLast, r.PushQuiet, r.PushLastQuiet = distOf(all), distOf(lasts), distOf(allQuiet), distOf(lastsQuiet)
	if r.Rounds > 0 {
		fmt.Printf("push latency, all streams of %d rounds: %v\n", r.Rounds, r.Push)
		fmt.Printf("push latency, last stream of a round:  %v\n", r.PushLast)
		fmt.Printf("in %d quiet rounds: all %v | last %v\n", r.Quiet, r.PushQuiet, r.PushLastQuiet)
		fmt.Printf("CPU per push: server %.4f s, client %.4f s\n", r.CPUPerPush, r.ClientCPUPerPush)
	}
	fmt.Printf("RSS at end %.0f MiB, peak since start %.0f MiB\n", r.EndRSS, r.HWM)
}

// appendTo writes the result as a line of JSON; "": nowhere.
func (r *result) appendTo(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(r)
}

func printSnap(what string, s snapshot, n int) {
	fmt.Print(what)
	for i, t := range types {
		fmt.Printf(" %s %d msg %d res %.2f MB;", strings.TrimPrefix(t, typePrefix), s.Msgs[i], s.Res[i], float64(s.Bytes[i])/1e6)
	}
	fmt.Printf(" (all %d streams)\n", n)
}
