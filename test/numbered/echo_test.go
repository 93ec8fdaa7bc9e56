package numbered

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

func TestEcho(t *testing.T) {
	for _, slow := range []bool{false, true} {
		a, b := net.Pipe()
		go func() {
			_, _ = io.Copy(b, b)
			b.Close()
		}()
		if err := Echo(a, 3, 200_001, slow); err != nil {
			t.Error(err)
		}
		a.Close()
	}
}

func TestReceiveOthers(t *testing.T) {
	all := Bytes(3, 1000)
	for want, got := range map[string][]byte{
		"after 999 bytes": all[:999],
		"differs at byte": append(Bytes(3, 500), all[504:]...),
	} {
		if err := Receive(bytes.NewReader(got), 3, 1000, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
