package hpack

import (
	"strconv"
	"strings"
	"testing"
)

// checked is an encoder whose blocks have to decode, here and by x/net.
type checked struct {
	e    Encoder
	d    Decoder
	r    *reference
	out  []byte
	want strings.Builder
}

func newChecked() *checked { return &checked{r: newReference()} }

func (c *checked) begin() {
	c.out = c.e.Begin(c.out[:0])
	c.want.Reset()
}

func (c *checked) field(name, value string) {
	c.out = c.e.Field(c.out, name, value)
	c.want.WriteString(name + ": " + value + "\n")
}

func (c *checked) end(t *testing.T) {
	t.Helper()
	want := c.want.String()
	if got := fields(&c.d, c.out); got != want || c.d.Err() != nil {
		t.Fatalf("%x: %v: got\n%s\nwant\n%s", c.out, c.d.Err(), got, want)
	}
	if got, err := c.r.decode(c.out); got != want || err != nil {
		t.Fatalf("%x: x/net: %v: got\n%s\nwant\n%s", c.out, err, got, want)
	}
	if c.e.table.size > c.e.table.max() || c.e.table.size != c.d.table.size || c.e.table.live != c.d.table.live {
		t.Fatalf("%d entries of %d bytes, the decoder has %d of %d", c.e.table.live, c.e.table.size, c.d.table.live, c.d.table.size)
	}
}

// TestEncoder: what comes again is one byte, what does not is never in the table.
func TestEncoder(t *testing.T) {
	c := newChecked()
	for i := range 3 {
		c.begin()
		c.field(":method", "GET")
		c.field(":scheme", "https")
		c.field(":authority", "ratings:9080")
		c.field(":path", "/"+strconv.Itoa(i))
		c.field("x-request-id", strconv.Itoa(i))
		c.field("te", "trailers")
		c.end(t)
	}
	if got, want := len(c.out), 1+1+1+4+(1+13+2)+1; got != want || c.e.table.live != 2 {
		t.Errorf("%d bytes, want %d; %d entries, want 2", got, want, c.e.table.live)
	}
}

func TestStatus(t *testing.T) {
	for status := 100; status < 1000; status++ {
		var e Encoder
		var d Decoder
		if got, want := fields(&d, e.Status(nil, status)), ":status: "+strconv.Itoa(status)+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestManyValues goes through the table many times; those that come with every block
// are found again.
func TestManyValues(t *testing.T) {
	c := newChecked()
	for i := range 5000 {
		c.begin()
		c.field("content-type", "text/plain")
		c.field("user-agent", strings.Repeat("a", i%300)+strconv.Itoa(i))
		c.field("te", strconv.Itoa(i%7))
		c.end(t)
	}
}

// TestLimits: the last limit is said, and before it that there was a lower one.
func TestLimits(t *testing.T) {
	c := newChecked()
	for _, tt := range []struct {
		limits []uint32
		begin  string
		live   int
	}{
		{nil, "", 1},
		{[]uint32{100}, "3f45", 1},
		{[]uint32{10, 1 << 20}, "203fe11f", 1},
		{[]uint32{200, 100}, "3f45", 1},
		{[]uint32{10, 300, 200}, "203fa901", 1},
		{[]uint32{0}, "20", 0},
		{[]uint32{4096}, "3fe11f", 1},
	} {
		for _, n := range tt.limits {
			c.e.SetLimit(n)
		}
		c.begin()
		if string(c.out) != string(unhex(t, tt.begin)) {
			t.Errorf("%v: begins with %x, want %s", tt.limits, c.out, tt.begin)
		}
		c.field("te", "trailers")
		c.end(t)
		if c.e.table.live != tt.live {
			t.Errorf("%v: %d entries", tt.limits, c.e.table.live)
		}
	}
}

// FuzzEncoder makes blocks of names that are indexed and of such that are not.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte("abc"), "some text", true)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 255, 9, 8, 0, 254, 1, 1, 0, 2, 253, 1}, "value", false)
	names := []string{":authority", ":method", ":path", "te", "user-agent", "x-forwarded-proto", "x-a", "server", "accept-encoding", "set-cookie"}
	f.Fuzz(func(t *testing.T, in []byte, text string, twice bool) {
		c := newChecked()
		c.begin()
		for i, b := range in {
			switch {
			case b >= 250 && i+1 < len(in):
				c.end(t)
				c.e.SetLimit(uint32(in[i+1]) * 17)
				if twice {
					c.e.SetLimit(uint32(b) * 7)
				}
				c.begin()
			case b >= 240:
				c.end(t)
				c.begin()
			default:
				c.field(names[int(b)%len(names)], text[min(len(text), int(b)/len(names)):])
			}
		}
		c.end(t)
	})
}
