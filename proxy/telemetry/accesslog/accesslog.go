// Package accesslog writes one line per request or connection, in Envoy's
// format language, as text or as JSON.
//
// Log formats on the caller's thread into a buffer and returns; a Writer sends
// whole lines to the file from a goroutine of its own. When the disk does not
// keep up, lines are dropped and counted, and the traffic is not: Writer.Dropped.
package accesslog

import (
	"fmt"
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Logger formats entries for one writer. It is safe for concurrent use.
type Logger struct {
	out  *Writer
	text *format.Format
	json *format.JSON
	pool sync.Pool // *[]byte
}

// NewText makes a logger of a text format; the format ends its own lines.
func NewText(out *Writer, text string, o format.Options) (*Logger, error) {
	f, err := format.Compile(text, o)
	if err != nil {
		return nil, fmt.Errorf("access log format: %w", err)
	}
	return newLogger(out, f, nil), nil
}

// NewJSON makes a logger of a JSON object per line. Values keep their types;
// those that are missing are null, or left out with omitEmpty.
func NewJSON(out *Writer, object map[string]any, o format.Options, omitEmpty bool) (*Logger, error) {
	j, err := format.CompileJSON(object, o, omitEmpty)
	if err != nil {
		return nil, fmt.Errorf("access log format: %w", err)
	}
	return newLogger(out, nil, j), nil
}

func newLogger(out *Writer, text *format.Format, j *format.JSON) *Logger {
	return &Logger{out: out, text: text, json: j, pool: sync.Pool{New: func() any { return new([]byte) }}}
}

// Log writes an entry.
func (l *Logger) Log(i *filter.Info) {
	b := l.pool.Get().(*[]byte)
	line := (*b)[:0]
	if l.text != nil {
		line = l.text.Append(line, i)
	} else {
		line = append(l.json.Append(line, i), '\n')
	}
	l.out.Write(line)
	*b = line
	l.pool.Put(b)
}
