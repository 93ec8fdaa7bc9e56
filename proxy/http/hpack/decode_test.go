package hpack

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ref "golang.org/x/net/http2/hpack"
)

// fields decodes a block, one field a line.
func fields(d *Decoder, block []byte) string {
	var all strings.Builder
	var f Field
	for d.Start(block); d.Next(&f); {
		all.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return all.String()
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	first  = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
	second = first + "cache-control: no-cache\n"
	third  = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"

	found    = ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n"
	moved    = ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n"
	answered = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n" +
		"content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"
)

// TestVectors are those of RFC 7541 appendix C; C.5 and C.6 have a table of 256 bytes.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		blocks []string
		want   []string
		size   []int // of the table, after each block
		max    int
	}{
		{"C.2.1", []string{"400a637573746f6d2d6b65790d637573746f6d2d686561646572"}, []string{"custom-key: custom-header\n"}, []int{55}, TableSize},
		{"C.2.2", []string{"040c2f73616d706c652f70617468"}, []string{":path: /sample/path\n"}, []int{0}, TableSize},
		{"C.2.3", []string{"100870617373776f726406736563726574"}, []string{"password: secret\n"}, []int{0}, TableSize},
		{"C.2.4", []string{"82"}, []string{":method: GET\n"}, []int{0}, TableSize},
		{"C.3", []string{
			"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		}, []string{first, second, third}, []int{57, 110, 164}, TableSize},
		{"C.4", []string{
			"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		}, []string{first, second, third}, []int{57, 110, 164}, TableSize},
		{"C.5", []string{
			"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f5049554158" +
				"5157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
		}, []string{found, moved, answered}, []int{222, 222, 215}, 256},
		{"C.6", []string{
			"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			"4883640effc1c0bf",
			"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c0" +
				"03ed4ee5b1063d5007",
		}, []string{found, moved, answered}, []int{222, 222, 215}, 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.table.resize(tt.max)
			for i, block := range tt.blocks {
				if diff := cmp.Diff(tt.want[i], fields(&d, unhex(t, block))); diff != "" || d.Err() != nil {
					t.Errorf("block %d: %v (-want +got):\n%s", i, d.Err(), diff)
				}
				if d.table.size != tt.size[i] {
					t.Errorf("block %d: the table has %d bytes, want %d", i, d.table.size, tt.size[i])
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, block string
		want        Error
	}{
		{"index 0", "80", ErrIndex},
		{"index beyond the static table", "be", ErrIndex},
		{"index beyond the dynamic table", "400161 0162 bf", ErrIndex},
		{"name beyond the table", "7f00 0161", ErrIndex},
		{"index far beyond", "ff80ffff7f", ErrIndex},
		{"integer of too many bytes", "ff8080808000", ErrInteger},
		{"integer too large", "7fffffffff7f", ErrInteger},
		{"integer cut", "ff80", ErrTruncated},
		{"no value", "400161", ErrTruncated},
		{"no name", "40", ErrTruncated},
		{"value cut", "40016102 62", ErrTruncated},
		{"size above the limit", "3fe21f", ErrSize},
		{"size after a field", "82 20", ErrSizeLate},
		{"padding of eight bits", "04 82 f8ff", ErrHuffman},
		{"padding of zeros", "04 81 18", ErrHuffman},
		{"end of the string", "04 84 ffffffff", ErrHuffman},
		{"end of the string, others follow", "04 88 fffffffc00000000", ErrHuffman},
		{"code cut", "04 82 ffc0", ErrHuffman},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			fields(&d, unhex(t, tt.block))
			if d.Err() != tt.want {
				t.Errorf("got %v, want %v", d.Err(), tt.want)
			}
			if got := fields(&d, unhex(t, "82")); got != "" {
				t.Errorf("decodes %q after an error", got)
			}
		})
	}
}

// TestSizeUpdates: at the beginning, also two of them.
func TestSizeUpdates(t *testing.T) {
	var d Decoder
	fields(&d, unhex(t, "400161 0162"))
	if got := fields(&d, unhex(t, "20 3fe11f 82")); got != ":method: GET\n" || d.Err() != nil {
		t.Errorf("got %q, %v", got, d.Err())
	}
	if fields(&d, unhex(t, "be")); d.Err() != ErrIndex {
		t.Errorf("got %v: the entry should be gone", d.Err())
	}
}

// TestFacts: what is known of a field is the same, literal and by its index.
func TestFacts(t *testing.T) {
	for _, tt := range []struct {
		block string
		want  Field
	}{
		{"82", Field{Name: ":method", Value: "GET", Class: Method, ValueOK: true, FixedName: true, FixedValue: true}},
		{"42 0341 4243", Field{Name: ":method", Value: "ABC", Class: Method, ValueOK: true, FixedName: true}},
		{"40 0161 0162", Field{Name: "a", Value: "b", ValueOK: true}},
		{"40 0141 0162", Field{Name: "A", Value: "b", Class: BadName, ValueOK: true}},
		{"40 00 0162", Field{Value: "b", Class: BadName, ValueOK: true}},
		{"40 03615f61 010a", Field{Name: "a_a", Value: "\n", Class: Underscored}},
		{"40 0461 5f6120 0109", Field{Name: "a_a ", Value: "\t", Class: BadName, ValueOK: true}},
		{"40 023a61 017f", Field{Name: ":a", Value: "\x7f", Class: Pseudo}},
		{"40 027465 0974726169 6c65727380", Field{Name: "te", Value: "trailers\x80", Class: TE, ValueOK: true}},
		{"40 0775706772616465 00", Field{Name: "upgrade", Class: Hop, ValueOK: true}},
		{"40 093a70726f746f636f6c 0177", Field{Name: ":protocol", Value: "w", Class: Protocol, ValueOK: true}},
	} {
		var d Decoder
		block := unhex(t, tt.block)
		for range 2 {
			var got Field
			d.Start(block)
			if !d.Next(&got) {
				t.Fatalf("%s: %v", tt.block, d.Err())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.block, diff)
			}
			if block[0] != 0x82 {
				block = []byte{0xbe}
			}
		}
	}
}

func TestValueOK(t *testing.T) {
	for c := range 256 {
		want := c >= ' ' && c != 0x7f || c == '\t'
		for at := range 19 {
			v := []byte(strings.Repeat("\x80 ~\t", 5)[:19])
			v[at] = byte(c)
			if got := ValueOK(string(v)); got != want {
				t.Errorf("%q: %v", v, got)
			}
		}
	}
}

// TestNameOfAnEvictedEntry: an entry's name may belong to one that makes room for it.
func TestNameOfAnEvictedEntry(t *testing.T) {
	var d Decoder
	d.table.resize(100)
	name := strings.Repeat("n", 60)
	want := name + ": v\n"
	if got := fields(&d, append(append([]byte{0x40, 60}, name...), 1, 'v')); got != want {
		t.Fatalf("got %q", got)
	}
	for range 40 {
		if got := fields(&d, []byte{0x7e, 1, 'v'}); got != want || d.table.live != 1 {
			t.Fatalf("got %q, %d entries", got, d.table.live)
		}
	}
	large := strings.Repeat("v", 50) // does not fit
	if got := fields(&d, append([]byte{0x7e, 50}, large...)); got != name+": "+large+"\n" || d.table.live != 0 {
		t.Errorf("got %q, %d entries", got, d.table.live)
	}
}

// reference decodes with x/net's decoder.
type reference struct {
	d   *ref.Decoder
	all strings.Builder
}

func newReference() *reference {
	r := &reference{}
	r.d = ref.NewDecoder(TableSize, func(f ref.HeaderField) { r.all.WriteString(f.Name + ": " + f.Value + "\n") })
	return r
}

func (r *reference) decode(block []byte) (string, error) {
	r.all.Reset()
	_, err := r.d.Write(block)
	if err == nil {
		err = r.d.Close()
	}
	return r.all.String(), err
}

// FuzzDecoder decodes blocks, each with a byte of its length before it, as x/net does.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"01 82 0f 400a637573746f6d2d6b65790161 01be", "0b 418cf1e3c2e5f23a6ba0 04 20824101 02 3fe11f", "06 400161016280 03 7e0163",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Decoder
		r := newReference()
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			block := in[1 : n+1]
			in = in[n+1:]
			got := fields(&d, block)
			want, err := r.decode(block)
			switch {
			case d.Err() == ErrInteger || d.Err() == ErrSizeLate:
				return // x/net takes longer ones, and late ones while its table is empty
			case d.Err() == nil && err != nil:
				if twice(block) {
					return // x/net takes no second one while its table is not empty
				}
				t.Fatalf("%x decodes; x/net: %v", block, err)
			case d.Err() != nil && err == nil:
				t.Fatalf("%x: %v; x/net decodes", block, d.Err())
			case d.Err() != nil:
				return
			case got != want:
				t.Fatalf("%x (-want +got):\n%s", block, cmp.Diff(want, got))
			}
		}
	})
}

// twice tells whether a block may begin with several changes of the table's size.
func twice(block []byte) bool { return len(block) > 1 && block[0]&0xe0 == 0x20 }
