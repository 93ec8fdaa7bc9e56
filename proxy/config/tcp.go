package config

import (
	"errors"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

func (d *Decoder) tcpProxy(a *anypb.Any, cc *chainContext) (filter.Terminal, error) {
	return nil, errors.New("tcp_proxy is not supported yet")
}

// TCPObserver is told when a TCP connection has been connected to its upstream,
// and when it has ended.
type TCPObserver interface {
	ConnOpened(i *filter.ConnInfo)
	ConnClosed(i *filter.ConnInfo)
}
