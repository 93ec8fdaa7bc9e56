// Package hpack is HPACK (RFC 7541) for a proxy: no I/O, and no garbage in the
// steady state, also where fields go into the dynamic tables all the time.
//
// A Decoder takes whole header blocks. The strings of its fields lie in the block,
// in the table or in scratch memory, and are valid until the next call: who
// keeps a message copies them once, into memory of the message. Each Field
// says what is known of it (Class, ValueOK, Fixed), found out when it went into the
// table, so that a field that is repeated by its index is not checked again.
//
// An Encoder appends fields to a block. It gives places in the table to those names
// whose values come again and again on one connection, and writes the others
// literally, without Huffman coding: bytes are cheaper than the time.
//
// The decoder is strict: every representation that RFC 7541 forbids is an error, and
// an Error ends the connection, for the table is lost. Both tables hold at most TableSize
// bytes, the size that needs no SETTINGS, and take memory as they fill.
//
// It knows which names HTTP/2 treats specially, but no rules about them: those are
// the caller's, as is the bound on a block's size. There is no way to mark a
// field as never to be indexed.
package hpack
