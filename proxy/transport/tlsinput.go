package transport

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// tlsInput lends a TLS connection the buffer that it reads into, for the time of
// a read. By itself crypto/tls keeps one that has the size of the largest record so
// far, for ever: 20 KiB for each idle connection that has once got a full record.
//
// It needs two private fields of tls.Conn. Where they are not what they were when this
// was written, nothing is lent and everything works as before; a test tells.
type tlsInput struct {
	raw   *bytes.Buffer // records; nil: nothing can be lent
	plain *bytes.Reader // what is decrypted of them, in place
	lent  *buffer
}

// tlsFields are where the private fields are.
var tlsFields = func() (f struct {
	raw, plain, hand uintptr
	known            bool
}) {
	t := reflect.TypeFor[tls.Conn]()
	raw, ok1 := t.FieldByName("rawInput")
	plain, ok2 := t.FieldByName("input")
	hand, ok3 := t.FieldByName("hand")
	buffer := reflect.TypeFor[bytes.Buffer]()
	f.known = ok1 && ok2 && ok3 && raw.Type == buffer && hand.Type == buffer && plain.Type == reflect.TypeFor[bytes.Reader]()
	f.raw, f.plain, f.hand = raw.Offset, plain.Offset, hand.Offset
	return f
}()

// newTLSInput takes c over after its handshake, whose messages it drops.
func newTLSInput(c *tls.Conn) tlsInput {
	if !tlsFields.known {
		return tlsInput{}
	}
	p := unsafe.Pointer(c)
	if hand := (*bytes.Buffer)(unsafe.Add(p, tlsFields.hand)); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	in := tlsInput{raw: (*bytes.Buffer)(unsafe.Add(p, tlsFields.raw)), plain: (*bytes.Reader)(unsafe.Add(p, tlsFields.plain))}
	in.give()
	return in
}

// lend comes before a read. bulk: several full records at a time are expected.
func (in *tlsInput) lend(bulk bool) {
	if in.raw == nil || in.lent != nil || in.raw.Len() > 0 {
		return
	}
	size := size20K
	if bulk {
		size = size64K
	}
	in.lent = getBuffer(size)
	*in.raw = *bytes.NewBuffer(in.lent.b)
}

// give comes after it: the buffer goes back unless part of a record waits in it.
func (in *tlsInput) give() {
	if in.raw == nil || in.raw.Len() > 0 || in.plain.Len() > 0 {
		return
	}
	in.drop()
}

// drop gives the buffer back with whatever is in it: nothing will be read any more.
func (in *tlsInput) drop() {
	if in.raw == nil {
		return
	}
	*in.raw = bytes.Buffer{}
	in.plain.Reset(nil) // it points into the buffer
	if in.lent != nil {
		in.lent.free()
		in.lent = nil
	}
}
