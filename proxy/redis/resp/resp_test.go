package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// words reads all commands of b, fed in pieces of n bytes.
func words(b []byte, n int) (out []string, err error) {
	var p Parser
	var have []byte
	for len(b) > 0 || len(have) > 0 {
		m := min(n, len(b))
		have, b = append(have, b[:m]...), b[m:]
		for {
			size, err := p.Parse(have)
			if err != nil {
				return out, err
			}
			if size == 0 {
				break
			}
			var all []string
			for i := range p.N() {
				all = append(all, string(p.Arg(have, i)))
			}
			if len(all) > 0 {
				out = append(out, fmt.Sprintf("%q", all))
			}
			have = have[size:]
		}
		if m == 0 {
			break
		}
	}
	return out, nil
}

func TestCommands(t *testing.T) {
	in := "*2\r\n$3\r\nGET\r\n$0\r\n\r\n" + "*0\r\n*-1\r\n" + "set  a \"x\\x41\\n\" 'it\\'s'\r\n\r\nPING\n" + string(AppendCommand(nil, "SET", "k", strings.Repeat("v", 3000)))
	want := []string{`["GET" ""]`, `["set" "a" "xA\n" "it's"]`, `["PING"]`, fmt.Sprintf("%q", []string{"SET", "k", strings.Repeat("v", 3000)})}
	for n := 1; n < 50; n += 3 {
		got, err := words([]byte(in), n)
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("pieces of %d: %v %q", n, err, got)
		}
	}
	for _, bad := range []string{"*x\r\n", "*1\r\n+OK\r\n", "*1\r\n$-1\r\n", "*1\r\n$1\r\nab\r\n", "*99999999\r\n", "*1\r\n$999999999999\r\n", "*1\r\n$1234567890123456789012\r\n", "'a\r\n", strings.Repeat("a", 70_000)} {
		if got, err := words([]byte(bad), 7); err == nil {
			t.Errorf("%.20q: %q", bad, got)
		}
	}
	p := Parser{Max: 10}
	if _, err := p.Parse([]byte("*1\r\n$20\r\n")); err == nil {
		t.Error("Max does not bound a command")
	}
}

// replies that there are, RESP2's and RESP3's.
var replies = []string{
	"+OK\r\n", "-ERR x\r\n", ":-12\r\n", "$5\r\nhello\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
	"_\r\n", ",1.5\r\n", "#t\r\n", "(123456789012345678901234567890\r\n", "!5\r\nERR x\r\n", "=7\r\ntxt:abc\r\n", "%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
	">2\r\n+message\r\n$1\r\na\r\n", "|1\r\n+ttl\r\n:3600\r\n*1\r\n:1\r\n",
}

func TestReplies(t *testing.T) {
	all := []byte(strings.Join(replies, ""))
	for n := 1; n < 20; n++ {
		var s Scanner
		var got []string
		var have []byte
		for b := all; len(b) > 0; {
			m := min(n, len(b))
			have, b = append(have, b[:m]...), b[m:]
			for {
				size, err := s.Scan(have)
				if err != nil {
					t.Fatal(err)
				}
				if size == 0 {
					break
				}
				got = append(got, string(have[:size]))
				have = have[size:]
			}
		}
		if strings.Join(got, "|") != strings.Join(replies, "|") {
			t.Fatalf("pieces of %d: %q", n, got)
		}
	}
	for _, bad := range []string{"hello\r\n", "+OK\n", "$x\r\n", "$3\r\nabcd\r\n", "%-1\r\n", "*9999999999\r\n", "$?\r\n", "\r\n"} {
		var s Scanner
		if n, err := s.Scan([]byte(bad)); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
	e, ok := ElementsOf([]byte("*3\r\n:1\r\n*1\r\n$1\r\na\r\n$-1\r\n"))
	var parts []string
	for x := e.Next(); x != nil; x = e.Next() {
		parts = append(parts, string(x))
	}
	if !ok || strings.Join(parts, "|") != ":1\r\n|*1\r\n$1\r\na\r\n|$-1\r\n" {
		t.Errorf("%v %q", ok, parts)
	}
	if n, ok := Int([]byte(":-12\r\n")); !ok || n != -12 {
		t.Error(n, ok)
	}
	if b, ok := Bulk([]byte("$3\r\nabc\r\n")); !ok || string(b) != "abc" {
		t.Errorf("%q %v", b, ok)
	}
	if got := string(AppendError(nil, "ERR a\r\nb")); got != "-ERR a  b\r\n" {
		t.Errorf("%q", got)
	}
}

// TestAllocations: none per message.
func TestAllocations(t *testing.T) {
	var p Parser
	var s Scanner
	cmd, reply := AppendCommand(nil, "MSET", "a", "1", "b", "2"), []byte(replies[7])
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.Parse(cmd); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Scan(reply); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCommands: however bytes come, the same commands are found, and nothing is read beyond what is there.
func FuzzCommands(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nset a 'b'\r\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		whole, err1 := words(bytes.Clone(b), max(1, len(b)))
		pieces, err2 := words(bytes.Clone(b), 1+n&0xff)
		if (err1 == nil) != (err2 == nil) || err1 == nil && strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Fatalf("%q %v, in pieces %q %v", whole, err1, pieces, err2)
		}
	})
}

// FuzzReplies likewise; elements are within their reply.
func FuzzReplies(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		var s, step Scanner
		size, err := s.Scan(b)
		for i := 0; i <= len(b); i += 1 + n&7 {
			if m, err := step.Scan(b[:i]); err != nil || m > 0 {
				if m > 0 && (m != size || m > i) {
					t.Fatalf("%d bytes, %d when %d are there", size, m, i)
				}
				break
			}
		}
		if err != nil || size == 0 {
			return
		}
		if size > len(b) {
			t.Fatal("longer than what there is")
		}
		total := 0
		e, _ := ElementsOf(b[:size])
		for x := e.Next(); x != nil; x = e.Next() {
			total += len(x)
		}
		if total > size {
			t.Fatal("elements are longer than their reply")
		}
	})
}
