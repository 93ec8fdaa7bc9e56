package numbered

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSame(t *testing.T) {
	const size = 1001
	all := Bytes(7, size)
	read, err := io.ReadAll(iotest.OneByteReader(&Reader{Stream: 7, Size: size}))
	if err != nil || !bytes.Equal(read, all) {
		t.Errorf("a Reader gives others than Bytes, or %v", err)
	}
	c := Checker{Stream: 7}
	if n, err := io.Copy(&c, iotest.HalfReader(bytes.NewReader(all))); n != size || err != nil || c.Len() != size || c.Err() != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := Check(7, all, size); err != nil {
		t.Error(err)
	}
}

func TestDifferences(t *testing.T) {
	all := Bytes(7, 1000)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"lost":           {join(all[:101], all[200:]), "differs at byte 101: what is at 200 comes already, 99 bytes too early"},
		"again":          {join(all[:200], all[104:]), "differs at byte 207: what was at 111 comes again"},
		"another":        {join(all[:200], Bytes(8, 1000)[200:]), "differs at byte 202: what is at 202 of stream 8"},
		"zeros":          {join(all[:203], make([]byte, 30), all[233:]), "differs at byte 207: 27 zeros"},
		"something else": {join(all[:200], bytes.Repeat([]byte("x"), 100)), "of no stream"},
		"too short":      {all[:999], "has 999 bytes, want 1000"},
	} {
		if err := Check(7, c.got, len(all)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
