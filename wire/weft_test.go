package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/wire/weftpb"
)

func TestOwnTypeURLs(t *testing.T) {
	for url, m := range map[string]proto.Message{TypeHost: &weftpb.Host{}, TypeWorkload: &weftpb.Workload{}} {
		if got := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()); got != url {
			t.Errorf("type URL is %s, the message is %s", url, got)
		}
	}
}
