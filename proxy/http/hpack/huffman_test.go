package hpack

import (
	"testing"

	ref "golang.org/x/net/http2/hpack"
)

// TestHuffmanOfAll has every byte before, after and between short codes.
func TestHuffmanOfAll(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			want := string([]byte{byte(a), 'a', byte(b), byte(a), byte(b)})
			got, ok := appendHuffman(nil, ref.AppendHuffmanString(nil, want))
			if string(got) != want || !ok {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
}

func FuzzHuffman(f *testing.F) {
	f.Add(ref.AppendHuffmanString(nil, "www.example.com\x00\xff{"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, ok := appendHuffman(nil, in)
		want, err := ref.HuffmanDecodeToString(in)
		if ok != (err == nil) || ok && string(got) != want {
			t.Errorf("%x: got %q, %v; x/net: %q, %v", in, got, ok, want, err)
		}
	})
}
