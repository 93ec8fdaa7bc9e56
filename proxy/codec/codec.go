// Package codec is the contract between the data plane and a layer-7 protocol that is not HTTP:
// what one has to write to have a protocol of one's own carried, and all there is to write.
//
// A Codec turns bytes into messages and back. It knows no sockets, no goroutines and no clocks,
// and it keeps no messages. In return its protocol has everything that HTTP has here: routes on
// any of its fields, weighted destinations, subsets, retries, timeouts, mirrors, faults, limits,
// authorization, all balancers, pools whose connections many clients share, mutual TLS, access
// logs, spans, Istio's metrics, draining, and upgrades of the proxy that cut nothing.
//
// What a Codec finds in a message it writes into the message's filter.Headers, and it is from
// these that everything else is decided:
//
//   - Authority is the service that is called, Method the operation, Path "/service/operation"
//     or whatever names the thing that is asked for: authorization policies and the uri, method and
//     authority of routes look at them;
//   - fields, in lower case, are whatever else a rule may want to look at;
//   - Status of an answer is an HTTP status: 200 when it went well, 500 for an exception or error that the
//     service itself reports. Retries, outlier detection and metrics go by it.
//
// A protocol is built in when it stands in the list of proxy/codecs.go; a program that imports the
// data plane passes its own to proxy.Run (see docs/CODECS.md). The package knows no configuration.
package codec

import "github.com/weftmesh/weft/proxy/filter"

// Kind says what a message is for.
type Kind uint8

// Kinds.
const (
	// Request is answered by one Response with the same ID.
	Request Kind = iota
	Response
	// OneWay is a request that nobody answers.
	OneWay
	// StreamOpen begins a stream: it is routed like a request, and what has the same ID
	// goes the same way. StreamData may come from either side.
	StreamOpen
	StreamData
	// StreamEnd ends the direction that it comes in, StreamReset both.
	StreamEnd
	StreamReset
	// Heartbeat is answered by whoever it reaches, HeartbeatReply by nobody. Neither is passed on.
	Heartbeat
	HeartbeatReply
	// GoAway of a server asks its client to begin nothing more on this connection.
	GoAway
)

// Peer is who has sent a message.
type Peer uint8

// Peers.
const (
	Client Peer = iota
	Server
)

// Message is what a Codec has found at the beginning of some bytes.
type Message struct {
	Kind Kind
	// Size is the whole message's, in bytes; 0 while the bytes are too few to tell. It may be
	// more than there is: the Codec is asked again once all of it has come.
	Size int
	// ID tells requests of one connection apart. Protocols without one leave it 0.
	ID uint64
	// Tag and Note are the Codec's own: what it wants to know again when the proxy answers the request
	// itself (serialization, version; the operation's name). Note may point into the message.
	Tag  uint64
	Note []byte
	// Head takes what rules look at. nil: only the rest is asked for.
	Head *filter.Headers
	// Fault is what is wrong with this message alone, whose border is known: a request is answered with status 400
	// and is not passed on.
	Fault error
	// Memo is the Codec's own: while it leaves Size 0, what it wants back when it is asked again about the same
	// message, of which more has come then: how far it has looked, so that nothing is looked at twice.
	Memo any
}

// Change is one field that rules have changed. Value "" with Remove takes it away.
type Change struct {
	Name, Value string
	Remove      bool
}

// Answer is what the proxy itself says to a request.
type Answer struct {
	// Status is the one that an HTTP client would get: 400 not understood, 403 denied, 404 no route, 429
	// over a limit, 500, 503 nobody there, 504 too late.
	Status int
	Text   string
}

// Codec is one connection's. All calls come from one thread of execution. Bytes are valid
// during the call only.
type Codec interface {
	// Decode reads the message that b begins with. An error is one of the whole
	// connection, which is closed: the border of the next message cannot be known.
	Decode(b []byte, from Peer, m *Message) error
	// Encode appends raw, a whole message as it came, with that id in place of its own and with the changes.
	// Protocols without ids and without Mutable append raw.
	Encode(out, raw []byte, from Peer, id uint64, changes []Change) ([]byte, error)
	// Answer appends the answer to a request or heartbeat; m has its Kind, ID, Tag and Note.
	Answer(out []byte, m *Message, a Answer) []byte
}

// Pinger is a Codec whose client side can ask for a sign of life.
type Pinger interface {
	Ping(out []byte) []byte
}

// Resetter is a Codec of a protocol with streams whose client side can give one up.
type Resetter interface {
	Reset(out []byte, id uint64) []byte
}

// Drainer is a Codec whose server side can tell a client to open no more requests on this connection.
type Drainer interface {
	Drain(out []byte) []byte
}

// Order says how answers find their requests.
type Order uint8

// Orders.
const (
	// ByID: answers carry the request's ID and come in any order. Connections to upstreams are shared by all clients, and
	// the ids on them are the proxy's own.
	ByID Order = iota
	// InOrder: answers come in the order of the requests.
	InOrder
	// OneByOne: the same, and a connection to an upstream carries one request at a time.
	OneByOne
)

// Protocol describes a protocol.
type Protocol struct {
	// Name in lower case, as in port names, access logs and metrics: "dubbo".
	Name string
	// New makes the Codec of a connection.
	New   func() Codec
	Order Order
	// MutableRequests and MutableResponses: Encode can carry out changes.
	MutableRequests, MutableResponses bool
	// MaxMessage bounds a message, in bytes; 0: 8 MiB.
	MaxMessage int
	// JSON, where it is set, lets clients that speak HTTP call services of the protocol.
	JSON JSON
	// Declare, where it is set, makes the JSON of a protocol whose messages do not say enough: of a
	// declaration in JSON, which is the protocol's own.
	Declare func(declaration []byte) (JSON, error)
}

// Answered makes a status and a body of a whole answer. It is called once at most, from any goroutine.
type Answered func(message []byte) (status int, body []byte, err error)

// JSON makes requests of HTTP with JSON in their bodies requests of a protocol, and its answers responses.
// Calls may come from any goroutine.
type JSON interface {
	// Request makes a whole message of a request's head and body, and what reads its answer. Errors are for the
	// client (400).
	Request(h *filter.Headers, body []byte) (message []byte, answered Answered, err error)
}
