// Package message lets the HTTP connection manager and its pools speak protocols whose unit is
// a message: it puts a proxy/codec.Codec behind the interface of proxy/http/codec, where a request
// is a head and a body. The head is what the Codec has found in the message, the body is the whole
// message as it came. So routes, filters, retries, mirrors, limits and logs are those of HTTP.
//
// # Guarantees
//
// A message is passed on as it came, but for its id and, where the protocol can, the fields that
// rules have changed. What an upstream answers has Headers.Protocol set to the protocol's name; an
// answer without is the proxy's own, and is written as the protocol writes errors. Answers to
// clients of a protocol without ids go out in the order of the requests; while much waits for its turn,
// no more is read. A one-way request is passed on though its client has gone. An idle connection holds no
// buffer. Nothing is allocated per message in the steady state.
//
// # What it does not do
//
// Messages are not streamed: one is passed on when it is whole, and its size is bounded.
// There is no flow control within a stream of messages, for these protocols have none: one
// whose client reads too slowly is cut off.
package message
