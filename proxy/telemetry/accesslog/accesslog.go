// Package accesslog writes one line per request or connection, in Envoy's
// format language, as text or as JSON.
//
// Log formats on the caller's thread into a buffer and returns; a Writer sends
// whole lines to the file from a goroutine of its own. When the disk does not
// keep up, lines are dropped and counted, and the traffic is not: Writer.Dropped.
package accesslog

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Field is one member of a JSON format, in the order of the configuration.
type Field struct {
	Name   string
	Format string
}

// Logger formats entries for one writer. It is safe for concurrent use.
type Logger struct {
	out    *Writer
	text   *format.Format
	fields []field
	pool   sync.Pool // *[]byte
}

type field struct {
	name  []byte // quoted, with colon
	value *format.Format
}

// NewText makes a logger of a text format; the format ends its own lines.
func NewText(out *Writer, text string, o format.Options) (*Logger, error) {
	f, err := format.Compile(text, o)
	if err != nil {
		return nil, fmt.Errorf("access log format: %w", err)
	}
	return newLogger(out, f, nil), nil
}

// NewJSON makes a logger of a JSON object per line. Missing values are null.
func NewJSON(out *Writer, members []Field, o format.Options) (*Logger, error) {
	o.Missing = ""
	var fields []field
	for _, m := range members {
		f, err := format.Compile(m.Format, o)
		if err != nil {
			return nil, fmt.Errorf("access log format: member %q: %w", m.Name, err)
		}
		name, err := json.Marshal(m.Name)
		if err != nil {
			return nil, fmt.Errorf("access log format: member %q: %w", m.Name, err)
		}
		fields = append(fields, field{append(name, ':'), f})
	}
	return newLogger(out, nil, fields), nil
}

func newLogger(out *Writer, text *format.Format, fields []field) *Logger {
	return &Logger{out: out, text: text, fields: fields, pool: sync.Pool{New: func() any { return new([]byte) }}}
}

// Log writes an entry.
func (l *Logger) Log(i *filter.Info) {
	b := l.pool.Get().(*[]byte)
	line := (*b)[:0]
	if l.text != nil {
		line = l.text.Append(line, i)
	} else {
		line = l.appendJSON(line, i)
	}
	l.out.Write(line)
	*b = line
	l.pool.Put(b)
}

// LogConn writes an entry of a TCP connection.
func (l *Logger) LogConn(c *filter.ConnInfo) {
	l.Log(&filter.Info{
		Conn: c, Start: c.Start, Duration: c.Duration, Upstream: c.Upstream, Flags: c.Flags, Received: c.Received, Sent: c.Sent,
	})
}

func (l *Logger) appendJSON(dst []byte, i *filter.Info) []byte {
	dst = append(dst, '{')
	for n, f := range l.fields {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, f.name...)
		at := len(dst)
		dst = f.value.Append(dst, i)
		if len(dst) == at {
			dst = append(dst, "null"...)
			continue
		}
		dst = quote(dst, at)
	}
	return append(dst, '}', '\n')
}

// quote turns what was appended at at into a JSON string.
func quote(dst []byte, at int) []byte {
	escapes := 0
	for _, c := range dst[at:] {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			escapes++
		}
	}
	if escapes == 0 {
		dst = append(dst, 0)
		copy(dst[at+1:], dst[at:])
		dst[at] = '"'
		return append(dst, '"')
	}
	s, err := json.Marshal(string(dst[at:]))
	if err != nil {
		panic("BUG: access log: a string that is no JSON: " + err.Error())
	}
	return append(dst[:at], s...)
}
