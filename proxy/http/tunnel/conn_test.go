package tunnel

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/base/stream"
)

// reader is a handler that keeps what it gets, and may stop reading meanwhile.
type reader struct {
	k     *conn
	got   []byte
	ended int
	// stops tells whether to stop after a piece.
	stops func() bool
}

var _ stream.Handler = (*reader)(nil)

func (r *reader) OnData(b []byte) {
	r.got = append(r.got, b...)
	if r.stops != nil && r.stops() {
		r.k.SetReading(false)
	}
}
func (r *reader) OnEnd()        { r.ended++ }
func (r *reader) OnDrain()      {}
func (r *reader) OnClose(error) {}

// inside runs f as an event of k; what it leaves for later runs after it.
func inside(k *conn, f func()) {
	k.lane.Do(f)
}

// granted is a tunnel that the peer has agreed to.
func granted() *conn { return &conn{granted: true} }

// TestKeptGoesFirst: what came while nobody read is read before what comes after reading
// was asked for, though that takes effect later.
func TestKeptGoesFirst(t *testing.T) {
	t.Run("resumed", func(t *testing.T) {
		k := granted()
		r := &reader{k: k}
		k.Bind(k.Executor(), r)
		inside(k, func() {
			k.SetReading(false)
			k.OnData([]byte("one "), false)
			k.SetReading(true)
			k.OnData([]byte("two "), false)
			k.OnData([]byte("three"), true)
		})
		if string(r.got) != "one two three" || r.ended != 1 {
			t.Errorf("read %q, ends: %d", r.got, r.ended)
		}
	})
	t.Run("bound", func(t *testing.T) {
		k := granted()
		r := &reader{k: k}
		inside(k, func() {
			k.OnData([]byte("one "), false)
			k.Bind(k.Executor(), r)
			k.OnData([]byte("two"), false)
		})
		if string(r.got) != "one two" {
			t.Errorf("read %q", r.got)
		}
	})
}

// TestOrder lets data come, reading stop and resume, and the handler be bound, in any order,
// several of these in an event: the reader gets the bytes as they came, and the end once,
// behind them.
func TestOrder(t *testing.T) {
	for seed := range uint64(2000) {
		order(t, rand.New(rand.NewPCG(seed, 0)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func order(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	k := granted()
	r := &reader{k: k, stops: func() bool { return rnd.IntN(4) == 0 }}
	var want []byte
	steps := []func(){
		func() { k.Bind(k.Executor(), r) },
		func() { k.SetReading(true) },
		func() { k.SetReading(false) },
		func() {
			b := make([]byte, 8*rnd.IntN(5))
			for i := 0; i < len(b); i += 8 {
				binary.BigEndian.PutUint64(b[i:], uint64(len(want)+i))
			}
			want = append(want, b...)
			k.OnData(b, false)
			clear(b) // it belongs to the caller again
		},
	}
	for range rnd.IntN(30) {
		inside(k, func() {
			for range 1 + rnd.IntN(6) {
				steps[rnd.IntN(len(steps))]()
			}
		})
		if !bytes.HasPrefix(want, r.got) {
			t.Errorf("read % x, want a beginning of % x", r.got, want)
			return
		}
	}
	inside(k, func() { k.OnData(nil, true) })
	if k.h == nil {
		k.Bind(k.Executor(), r)
	}
	for range len(want) + 2 { // it may stop again after each piece
		inside(k, func() { k.SetReading(true) })
	}
	if !bytes.Equal(r.got, want) || r.ended != 1 {
		t.Errorf("read % x, want % x, ends: %d", r.got, want, r.ended)
	}
}
