// Package resp finds the borders of what Redis clients and servers say to each other, in RESP2 and
// RESP3, and writes it. It knows no sockets and no commands.
//
// # Guarantees
//
// A Parser and a Scanner look at every byte once, however it arrives: they remember how far they
// have come in a message that is not whole yet. Sizes are bounded before anything is kept for them.
// Nothing is allocated per message in the steady state.
//
// # What it does not do
//
// Values are not converted. Streamed strings and aggregates of RESP3, which no server sends, are errors.
package resp

import "errors"

// Bounds.
const (
	// MaxCommand is how long a command may be, in bytes.
	MaxCommand = 512 << 20
	// MaxArgs is how many words one may have; MaxInline how long an inline command may be. Both are Redis's.
	MaxArgs   = 1 << 20
	MaxInline = 64 << 10
	// MaxReply is how long a reply may be.
	MaxReply = 1 << 30
	// MaxElements is how many values one may have.
	MaxElements = 1 << 28
)

// Errors of clients, in the words of Redis, without the code.
var (
	ErrMultibulk = errors.New("Protocol error: invalid multibulk length")     //nolint:staticcheck // Redis's words
	ErrBulk      = errors.New("Protocol error: invalid bulk length")          //nolint:staticcheck // as above
	ErrDollar    = errors.New("Protocol error: expected '$'")                 //nolint:staticcheck // as above
	ErrInline    = errors.New("Protocol error: too big inline request")       //nolint:staticcheck // as above
	ErrLine      = errors.New("Protocol error: too big mbulk count string")   //nolint:staticcheck // as above
	ErrQuotes    = errors.New("Protocol error: unbalanced quotes in request") //nolint:staticcheck // as above
)

// ErrReply is what a server must not say.
var ErrReply = errors.New("resp: not a reply")
