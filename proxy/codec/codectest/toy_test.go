package codectest

import (
	"testing"

	"github.com/weftmesh/weft/proxy/codec"
)

func TestToy(t *testing.T) {
	Check(t, Toy(codec.ByID), []Sample{
		{Name: "request", Raw: ToyMessage(codec.Request, 7, ":service=s\n:method=m\nk=v\n\nbody"), Kind: codec.Request, ID: 7,
			Want: map[string]string{":authority": "s", ":method": "m", ":path": "/m", "k": "v"}},
		{Name: "answer", From: codec.Server, Raw: ToyMessage(codec.Response, 9, ":status=500\n\n"), Kind: codec.Response, ID: 9, Want: map[string]string{":status": "500"}},
	})
}
