package h1

import (
	"net/http"
	"strconv"
)

// reason is a status code's reason phrase, "" for one that Envoy has no words for.
func reason(code int) string {
	switch code {
	case 413:
		return "Payload Too Large"
	case 414:
		return "URI Too Long"
	case 416:
		return "Range Not Satisfiable"
	case 103, 418, 451:
		return ""
	}
	return http.StatusText(code)
}

// statusLines has the usual ones ready.
var statusLines = func() (lines [512]string) {
	for code := 100; code < len(lines)+100; code++ {
		if text := reason(code); text != "" {
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

// ErrorText is the body of a server's reply to a request that broke the protocol.
func ErrorText(code int) string { return reason(code) }

// appendErrorReply answers a request that broke the protocol.
func (c *Conn) appendErrorReply(out []byte, code int, text string) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(code), 10)
	out = append(out, ' ')
	out = append(out, reason(code)...)
	out = append(out, "\r\ncontent-length: "...)
	out = strconv.AppendInt(out, int64(len(text)), 10)
	out = append(out, "\r\ncontent-type: text/plain\r\n"...)
	if c.opt.ErrorHead != nil {
		out = c.opt.ErrorHead(out)
	}
	out = append(out, "connection: close\r\n\r\n"...)
	return append(out, text...)
}
