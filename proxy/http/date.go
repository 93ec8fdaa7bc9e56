package http

import (
	"sync/atomic"
	"time"
)

// httpDate is a second and how it is written in a date header.
type httpDate struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[httpDate]

// dateText is t for a date header. It is written once per second.
func dateText(t time.Time) string {
	s := t.Unix()
	d := lastDate.Load()
	if d == nil || d.second != s {
		d = &httpDate{second: s, text: t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
		lastDate.Store(d)
	}
	return d.text
}
