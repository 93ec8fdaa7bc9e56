package model

import "github.com/weftmesh/weft/wire/protocol"

// AppProtocol is an ApplicationProtocol: a protocol of messages that ports may speak, by its name.
type AppProtocol struct {
	Meta `json:"meta"`
	// Protocol is the name, as in port names.
	Protocol string
	// Codec is the data plane's that speaks it; empty: it is as Declared.
	Codec    string
	Declared *protocol.Declaration
	// Module is the codec, which proxies are sent; nil: there is none.
	Module *ModuleRef
}
