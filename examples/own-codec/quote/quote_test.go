package quote

import (
	"encoding/binary"
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/codectest"
)

func message(id uint32, kind byte, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(headLen+len(text))) //nolint:gosec // tests
	return append(append(binary.BigEndian.AppendUint32(b, id), kind), text...)
}

func TestCodec(t *testing.T) {
	codectest.Check(t, &Protocol, []codectest.Sample{
		{Name: "question", Raw: message(7, 'Q', "WEFT\nlondon\n"), Kind: codec.Request, ID: 7, Want: map[string]string{":authority": "WEFT", ":path": "/WEFT", "desk": "london"}},
		{Name: "answer", From: codec.Server, Raw: message(7, 'A', "12"), Kind: codec.Response, ID: 7},
		{Name: "error", From: codec.Server, Raw: message(7, 'E', "no"), Kind: codec.Response, ID: 7, Want: map[string]string{":status": "500"}},
		{Name: "ping", Raw: message(1, 'P', ""), Kind: codec.Heartbeat, ID: 1},
	})
}
