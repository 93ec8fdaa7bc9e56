package format

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// defaultTime is what START_TIME without arguments prints: 2024-05-01T10:11:12.345Z.
const defaultTime = "%Y-%m-%dT%H:%M:%S.%3fZ"

// timePart appends one part of a time.
type timePart func(dst []byte, t time.Time) []byte

// startTime compiles START_TIME(strftime format).
func startTime(layout string, zone *time.Location) (value, error) {
	parts, err := timeParts(cmp.Or(layout, defaultTime))
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		if i.Start.IsZero() {
			return dst, false
		}
		t := i.Start.In(zone)
		for _, p := range parts {
			dst = p(dst, t)
		}
		return dst, true
	}, nil
}

// emitTime compiles EMIT_TIME: when the entry is written.
func emitTime(layout string) (value, error) {
	parts, err := timeParts(cmp.Or(layout, defaultTime))
	if err != nil {
		return nil, err
	}
	return func(dst []byte, _ *filter.Info) ([]byte, bool) {
		t := time.Now().UTC()
		for _, p := range parts {
			dst = p(dst, t)
		}
		return dst, true
	}, nil
}

func timeParts(layout string) ([]timePart, error) {
	var parts []timePart
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' {
			c := layout[i]
			parts = append(parts, func(dst []byte, _ time.Time) []byte { return append(dst, c) })
			continue
		}
		i++
		digits := 9
		if i < len(layout) && '1' <= layout[i] && layout[i] <= '9' {
			digits = int(layout[i] - '0')
			i++
			if i == len(layout) || layout[i] != 'f' {
				return nil, fmt.Errorf("time format %q: a digit is only known in %%1f to %%9f", layout)
			}
		}
		if i == len(layout) {
			return nil, fmt.Errorf("time format %q ends in a percent sign", layout)
		}
		p := timeVerb(layout[i], digits)
		if p == nil {
			return nil, fmt.Errorf("time format %q: %%%c is not supported", layout, layout[i])
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func timeVerb(verb byte, digits int) timePart {
	switch verb {
	case 'f':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Nanosecond(), 9)[:len(dst)+digits] }
	case 's':
		return func(dst []byte, t time.Time) []byte { return strconv.AppendInt(dst, t.Unix(), 10) }
	case 'Y':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Year(), 4) }
	case 'm':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, int(t.Month()), 2) }
	case 'd':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Day(), 2) }
	case 'H':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Hour(), 2) }
	case 'M':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Minute(), 2) }
	case 'S':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.Second(), 2) }
	case 'j':
		return func(dst []byte, t time.Time) []byte { return appendPadded(dst, t.YearDay(), 3) }
	}
	layout, ok := map[byte]string{
		'F': "2006-01-02", 'T': "15:04:05", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday",
		'y': "06", 'I': "03", 'p': "PM", 'e': "_2", 'z': "-0700", 'Z': "MST", '%': "%",
	}[verb]
	if !ok {
		return nil
	}
	return func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, layout) }
}

// appendPadded appends n with leading zeros.
func appendPadded(dst []byte, n, width int) []byte {
	for limit := 10; width > 1; width-- {
		if n < limit {
			for range width - 1 {
				dst = append(dst, '0')
			}
			break
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
