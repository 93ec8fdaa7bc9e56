package guest

import (
	"errors"
	"testing"
)

type echo struct{}

func (echo) Decode(b []byte, _ bool, m *Message) error {
	switch string(b) {
	case "":
		return nil
	case "bad":
		return errors.New("no")
	}
	*m = Message{Kind: OneWay, Size: len(b), ID: 3, Tag: 4, Status: 500, Note: []byte("n"), Method: b, Fields: []Field{{Name: []byte("k"), Value: []byte("v")}}}
	return nil
}

func (echo) Encode(out, raw []byte, _ bool, id uint64, changes []Change) ([]byte, error) {
	if len(raw) == 0 {
		return nil, errors.New("nothing")
	}
	out = append(out, raw...)
	for _, c := range changes {
		out = append(out, c.Name+"="+c.Value...)
	}
	return append(out, byte(id)), nil
}

func (echo) Answer(out []byte, m *Message, status int, text string) []byte {
	return append(append(out, byte(m.Kind), byte(m.ID), byte(m.Tag), byte(status)), string(m.Note)+text...)
}

func (echo) Drain(out []byte) []byte { return out }

// TestRecords holds what a module says to the ABI, byte by byte.
func TestRecords(t *testing.T) {
	Serve(Protocol{Codec: echo{}, Order: InOrder, MutableRequests: true})
	if d := describe(); d != 1|bitRequests|bitDrains {
		t.Errorf("describe: %b, without bit %b", d, bitResponses)
	}
	for _, c := range []struct {
		name, got, want string
	}{
		{"too few", string(decode(nil, false)), "\x00"},
		{"broken", string(decode([]byte("bad"), false)), "\x02no"},
		{"a message", string(decode([]byte("ab"), true)), "\x01\x02\xf4\x01\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00" +
			"\x01\x00\x00\x00n\x00\x00\x00\x00" + "\x00\x00\x00\x00\x02\x00\x00\x00ab\x00\x00\x00\x00" + "\x01\x00\x00\x00k\x01\x00\x00\x00v"},
		{"encoded", string(encode([]byte("\x02\x00\x00\x00ab\x00\x01\x00\x00\x00k\x01\x00\x00\x00v"), false, 7)), "\x01abk=v\x07"},
		{"not encoded", string(encode([]byte("\x00\x00\x00\x00"), false, 7)), "\x02nothing"},
		{"an answer", string(answer([]byte("\x01\x00\x00\x00n\x02\x00\x00\x00no"), Heartbeat, 5, 6, 40)), "\x07\x05\x06\x28nno"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
	out = nil
}
