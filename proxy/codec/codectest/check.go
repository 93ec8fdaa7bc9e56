package codectest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// Sample is a message for Check, and what a codec has to find in it.
type Sample struct {
	Name string
	From codec.Peer
	Raw  []byte
	Kind codec.Kind
	ID   uint64
	// Want are fields, pseudo headers included (":path").
	Want map[string]string
}

// Check holds a protocol to the contract: a message is found however its bytes are cut, behind it others may
// follow, encoding it with its own id changes nothing, and another id can be read again.
func Check(t *testing.T, p *codec.Protocol, samples []Sample) {
	t.Helper()
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			c := p.New()
			followed := append(bytes.Clone(s.Raw), s.Raw...)
			var memo any
			for n := range s.Raw {
				m := codec.Message{Head: &filter.Headers{}, Memo: memo}
				if err := c.Decode(followed[:n:n], s.From, &m); err != nil {
					t.Fatalf("the first %d bytes: %v", n, err)
				}
				if m.Size != 0 && m.Size != len(s.Raw) {
					t.Fatalf("after %d bytes the message has %d, in truth %d", n, m.Size, len(s.Raw))
				}
				if memo = nil; m.Size == 0 {
					memo = m.Memo
				}
			}
			m := codec.Message{Head: &filter.Headers{}, Memo: memo}
			if err := c.Decode(followed, s.From, &m); err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprint(m.Size, m.Kind, m.ID, m.Fault), fmt.Sprint(len(s.Raw), s.Kind, s.ID, error(nil)); got != want {
				t.Errorf("size, kind, id, fault: %s, want %s", got, want)
			}
			for name, want := range s.Want {
				if got := m.Head.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			checkEncode(t, p, c, s)
		})
	}
}

func checkEncode(t *testing.T, p *codec.Protocol, c codec.Codec, s Sample) {
	t.Helper()
	out, err := c.Encode([]byte("x"), s.Raw, s.From, s.ID, nil)
	if err != nil || !bytes.Equal(out[1:], s.Raw) {
		t.Fatalf("encoded with its own id: %q, %v", out, err)
	}
	if p.Order != codec.ByID {
		return
	}
	const other = 0x01020304
	out, err = c.Encode(nil, s.Raw, s.From, other, nil)
	m := codec.Message{}
	if err == nil {
		err = c.Decode(out, s.From, &m)
	}
	if err != nil || m.ID != other || m.Kind != s.Kind || m.Size != len(out) {
		t.Errorf("with id %d it became kind %d, id %d, size %d of %d: %v", other, m.Kind, m.ID, m.Size, len(out), err)
	}
}
