package h1

import (
	"net/http"
	"strconv"
)

// statusLines has the usual ones ready.
var statusLines = func() (lines [512]string) {
	for code := 100; code < len(lines)+100; code++ {
		if text := http.StatusText(code); text != "" {
			lines[code-100] = strconv.Itoa(code) + " " + text
		}
	}
	return lines
}()

func (c *Conn) status(code int) {
	c.out = append(c.out, "HTTP/1."...)
	c.out = append(c.out, '0'+c.minor, ' ')
	if code >= 100 && code < 100+len(statusLines) && statusLines[code-100] != "" {
		c.out = append(c.out, statusLines[code-100]...)
	} else {
		c.out = strconv.AppendInt(c.out, int64(code), 10)
		c.out = append(c.out, " Unknown"...)
	}
	c.eol()
}

// appendErrorReply answers a request that broke the protocol.
func appendErrorReply(out []byte, code int) []byte {
	text := http.StatusText(code)
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(code), 10)
	out = append(out, ' ')
	out = append(out, text...)
	out = append(out, "\r\ncontent-length: "...)
	out = strconv.AppendInt(out, int64(len(text)), 10)
	out = append(out, "\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"...)
	return append(out, text...)
}
