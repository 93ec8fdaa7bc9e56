package proxy

import (
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/dubbo"
	"github.com/weftmesh/weft/proxy/codec/thrift"
)

// protocols are those of messages that are carried, beside HTTP and TCP: the built-in
// ones, and more that a binary was built with.
func protocols(more []*codec.Protocol) []*codec.Protocol {
	return append([]*codec.Protocol{&dubbo.Protocol, &thrift.Protocol}, more...)
}
