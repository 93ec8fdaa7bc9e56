package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// dialogue is a protocol of messages in which all requests have one size, and all answers.
type dialogue struct {
	request, answer []byte
	// id is where both have the number of the request, of so many bytes; 0: nowhere.
	id, idSize int
}

// serve answers each request that comes, those of one read in one write.
func (d *dialogue) serve() (upstream, error) {
	return listen(func(c net.Conn) {
		in, out := make([]byte, 64<<10), []byte(nil)
		for have := 0; ; {
			n, err := c.Read(in[have:])
			if err != nil {
				return
			}
			have += n
			used := 0
			out = out[:0]
			for ; have-used >= len(d.request); used += len(d.request) {
				at := len(out)
				out = append(out, d.answer...)
				copy(out[at+d.id:][:d.idSize], in[used+d.id:][:d.idSize])
			}
			have = copy(in, in[used:have])
			if len(out) > 0 {
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	})
}

// drive keeps depth requests under way on each of conns connections: they are sent together, and the next when all have
// been answered.
func (d *dialogue) drive(conns, depth int) func(context.Context, string, int) ([]time.Duration, error) {
	return func(_ context.Context, addr string, n int) ([]time.Duration, error) {
		var left atomic.Int64
		left.Store(int64(n))
		return parallel(conns, func(int) ([]time.Duration, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			out, in := bytes.Repeat(d.request, depth), make([]byte, depth*len(d.answer))
			var times []time.Duration
			for left.Add(-int64(depth)) > -int64(depth) {
				begin := time.Now()
				if err := d.exchange(c, out, in); err != nil {
					return nil, err
				}
				times = append(times, time.Since(begin))
			}
			return times, nil
		})
	}
}

// exchange sends out, with numbers of its own, and reads as many answers.
func (d *dialogue) exchange(c net.Conn, out, in []byte) error {
	for i, at := 0, 0; d.idSize > 0 && at < len(out); i, at = i+1, at+len(d.request) {
		binary.BigEndian.PutUint32(out[at+d.id+d.idSize-4:], uint32(i)+1) //nolint:gosec // a few
	}
	if _, err := c.Write(out); err != nil {
		return err
	}
	n, err := io.ReadFull(c, in)
	if err != nil {
		return fmt.Errorf("%w after %d bytes of %d: %.200q", err, n, len(in), in[:n])
	}
	for at := 0; at < len(in); at += len(d.answer) {
		got := in[at:][:len(d.answer)]
		if !bytes.Equal(got[:d.id], d.answer[:d.id]) || !bytes.Equal(got[d.id+d.idSize:], d.answer[d.id+d.idSize:]) {
			return fmt.Errorf("answered %.200q", got)
		}
	}
	return nil
}

func redisDialogue() *dialogue {
	value := bytes.Repeat([]byte("x"), 100)
	return &dialogue{
		request: []byte("*2\r\n$3\r\nGET\r\n$14\r\nbooks:00000042\r\n"),
		answer:  fmt.Appendf(nil, "$%d\r\n%s\r\n", len(value), value),
	}
}

// benchService and benchMethod are what is called of Dubbo and Thrift: from the middle of the table.
const (
	benchService = "org.example.Service25"
	benchMethod  = "method25"
)

// hessianString is a string of less than 1024 characters in Hessian 2.
func hessianString(out []byte, s string) []byte {
	if len(s) < 32 {
		out = append(out, byte(len(s))) //nolint:gosec // 0 to 31
	} else {
		out = append(out, 0x30+byte(len(s)>>8), byte(len(s))) //nolint:gosec // as it is written
	}
	return append(out, s...)
}

func dubboMessage(flags, status byte, body []byte) []byte {
	out := append([]byte{0xda, 0xbb, flags, status}, make([]byte, 8)...)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(body))), body...) //nolint:gosec // short
}

func dubboDialogue() *dialogue {
	var call []byte
	for _, s := range []string{"2.0.2", benchService, "1.0.0", benchMethod, "Ljava/lang/String;", string(bytes.Repeat([]byte("q"), 100))} {
		call = hessianString(call, s)
	}
	call = append(call, 'H')
	for _, s := range []string{"path", benchService, "interface", benchService, "version", "1.0.0", "user", "jason"} {
		call = hessianString(call, s)
	}
	call = append(call, 'Z')
	result := hessianString([]byte{0x91}, string(bytes.Repeat([]byte("a"), 1000)))
	return &dialogue{request: dubboMessage(0xc2, 0, call), answer: dubboMessage(0x02, 20, result), id: 4, idSize: 8}
}

// thriftMessage is framed and binary: one string argument, or result.
func thriftMessage(kind byte, field uint16, text string) []byte {
	var b []byte
	b = append(b, 0x80, 0x01, 0, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(benchMethod)))
	b = append(b, benchMethod...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, 11) // a string
	b = binary.BigEndian.AppendUint16(b, field)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text))) //nolint:gosec // short
	b = append(append(b, text...), 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) //nolint:gosec // short
}

func thriftDialogue() *dialogue {
	return &dialogue{
		request: thriftMessage(1, 1, string(bytes.Repeat([]byte("q"), 100))),
		answer:  thriftMessage(2, 0, string(bytes.Repeat([]byte("a"), 1000))),
		id:      4 + 4 + 4 + len(benchMethod), idSize: 4,
	}
}

// quoteDialogue is that of examples/own-codec.
func quoteDialogue() *dialogue {
	message := func(kind byte, text string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(9+len(text))) //nolint:gosec // short
		return append(append(append(b, 0, 0, 0, 0), kind), text...)
	}
	return &dialogue{
		request: message('Q', "WEFT\nlondon\n"+string(bytes.Repeat([]byte("q"), 100))),
		answer:  message('A', string(bytes.Repeat([]byte("a"), 1000))),
		id:      4, idSize: 4,
	}
}
