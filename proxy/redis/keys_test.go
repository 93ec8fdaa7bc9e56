package redis

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy/redis/command"
)

// TestSlots compares with what CLUSTER KEYSLOT of a Redis 7.0 says.
func TestSlots(t *testing.T) {
	for key, want := range map[string]int{"foo": 12182, "bar": 5061, "{foo}bar": 12182, "x{foo}y{bar}": 12182, "": 0, "123456789": 12739} {
		if got := slotOf([]byte(key)); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
	for key, want := range map[string]string{"{}a": "{}a", "a{b}": "b", "{a": "{a", "}{a}": "a", "{{a}}": "{a"} {
		if got := string(tag([]byte(key))); got != want {
			t.Errorf("%q: tag %q, want %q", key, got, want)
		}
	}
}

// TestTable: the longest prefix wins.
func TestTable(t *testing.T) {
	other := &Route{Cluster: "other"}
	table := newTable(&Config{Routes: []Route{{Prefix: "a", Cluster: "1"}, {Prefix: "ab:", Cluster: "2"}, {Prefix: "B", Cluster: "3"}}, Default: other, IgnoreCase: true})
	for key, want := range map[string]string{"a": "1", "AX": "1", "ab:": "2", "aB:x": "2", "ab": "1", "b1": "3", "c": "other", "": "other"} {
		if got := table.find([]byte(key)).Cluster; got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
	r := &Route{Prefix: "p:", Strip: true, Format: "<%KEY%|%KEY%>"}
	if got := string(r.appendKey(nil, []byte("p:k"))); got != "<k|k>" {
		t.Error(got)
	}
}

// TestKeys finds the keys of commands.
func TestKeys(t *testing.T) {
	for line, want := range map[string]string{
		"GET a": "a", "MSET a 1 b 2": "a b", "EVAL s 2 a b c": "a b", "EVAL s 0 c": "", "EVAL s x": "", "ZUNIONSTORE d 2 a b": "d a b", "XREAD COUNT 2 STREAMS a b 0 0": "a b",
		"BLPOP a b 0": "a b", "OBJECT ENCODING a": "a", "PING": "", "JSON.GET a": "a", "LMPOP 2 a b LEFT": "a b", "BITOP AND d a b": "d a b", "EVAL s 99999999999999999999 a": "", "EVAL s 7 a": "",
	} {
		words := strings.Fields(line)
		arg := func(i int) []byte { return []byte(words[i]) }
		k := command.Find(arg(0)).Keys(len(words), arg)
		var got []string
		if k.Extra > 0 {
			got = append(got, words[k.Extra])
		}
		if k.First > 0 {
			for i := k.First; i <= k.Last; i += k.Step {
				got = append(got, words[i])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestSlotsAnswer reads the answers of CLUSTER SLOTS.
func TestSlotsAnswer(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.1")
	node := func(ip, port string) string { return "*2\r\n$" + ip + "\r\n:" + port + "\r\n" }
	s, err := parseSlots([]byte("*2\r\n*4\r\n:0\r\n:100\r\n"+node("0\r\n", "7000")+node("8\r\n10.0.0.2", "7001")+"*3\r\n:101\r\n:16383\r\n"+node("8\r\n10.0.0.3", "7002")), own)
	if err != nil {
		t.Fatal(err)
	}
	if s.of[0].primary.String() != "10.0.0.1:7000" || s.of[100].replicas[0].String() != "10.0.0.2:7001" || s.of[16383].primary.String() != "10.0.0.3:7002" || len(s.all) != 2 {
		t.Errorf("%+v", s.all)
	}
	for _, bad := range []string{"", "*0\r\n", "+OK\r\n", "*1\r\n*3\r\n:5\r\n:4\r\n" + node("0\r\n", "1"), "*1\r\n*3\r\n:0\r\n:16384\r\n" + node("0\r\n", "1"), "*1\r\n*3\r\n:0\r\n:1\r\n+x\r\n"} {
		if _, err := parseSlots([]byte(bad), own); err == nil {
			t.Errorf("%q is none", bad)
		}
	}
	for text, want := range map[string]string{"1.2.3.4:5": "1.2.3.4:5", ":7": "10.0.0.1:7", "::1:6379": "[::1]:6379"} {
		if got, ok := redirection(text, own); !ok || got.String() != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
