//go:build !race

package serial

import "testing"

type counter int

func (c *counter) Run() { *c++ }

func TestNoAllocations(t *testing.T) {
	var e Executor
	var c counter
	round := func() {
		e.Enter()
		for range 4 {
			e.Post(&c)
		}
		e.Leave()
		e.Post(&c)
	}
	round() // makes both queues
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	var e Executor
	for b.Loop() {
		e.Enter()
		e.Leave()
	}
}

func BenchmarkPostInside(b *testing.B) {
	var e Executor
	var c counter
	for b.Loop() {
		e.Enter()
		e.Post(&c)
		e.Leave()
	}
}

func BenchmarkContended(b *testing.B) {
	var e Executor
	var c counter
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e.Post(&c)
		}
	})
}
