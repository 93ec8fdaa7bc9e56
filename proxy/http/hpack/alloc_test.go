//go:build !race

package hpack

import (
	"strconv"
	"testing"

	ref "golang.org/x/net/http2/hpack"
)

// TestNoGarbage: also when every block inserts fields and evicts others.
func TestNoGarbage(t *testing.T) {
	var e Encoder
	var d Decoder
	values := make([]string, 200)
	for i := range values {
		values[i] = "Thu, 26 Nov 2026 02:53:24 GMT " + strconv.Itoa(i)
	}
	var out []byte
	coded := append(ref.AppendHuffmanString([]byte{0x61, 0}, values[0]), 0x40, 1, 'a', 1, 'b')
	coded[1] = 0x80 | byte(len(coded)-2-5)
	i, n := 0, 0
	exchange := func() {
		var f Field
		out = e.Begin(out[:0])
		out = e.Status(out, 302)
		for range 10 {
			out = e.Field(out, "user-agent", values[i%len(values)])
			out = e.Field(out, "grpc-status", values[i*7%len(values)])
			i++
		}
		out = e.Field(out, "x-request-id", values[0])
		for d.Start(out); d.Next(&f); {
			n++
		}
	}
	var other Decoder
	insert := func() {
		var f Field
		for other.Start(coded); other.Next(&f); {
			n++
		}
	}
	for range 300 {
		exchange()
		insert()
	}
	n = 0
	if got := testing.AllocsPerRun(100, exchange); got != 0 {
		t.Errorf("%v allocations an exchange", got)
	}
	if want := 101 * 22; n != want || d.Err() != nil {
		t.Errorf("%d fields, want %d: %v", n, want, d.Err())
	}
	if got := testing.AllocsPerRun(100, insert); got != 0 || other.Err() != nil {
		t.Errorf("%v allocations a block that is inserted: %v", got, other.Err())
	}
}

// BenchmarkDecode is the head of a response as nginx writes it: all literal, most of it inserted.
func BenchmarkDecode(b *testing.B) {
	block := []byte{0x88}
	for _, f := range []struct {
		name  byte
		value string
	}{{54, "nginx/1.22.1"}, {33, "Thu, 26 Nov 2026 02:53:24 GMT"}, {31, "application/json"}, {28, "1024"}} {
		v := ref.AppendHuffmanString(nil, f.value)
		block = append(append(block, 0x40|f.name, 0x80|byte(len(v))), v...)
	}
	b.ReportAllocs()
	var d Decoder
	var f Field
	for b.Loop() {
		for d.Start(block); d.Next(&f); {
		}
	}
}
