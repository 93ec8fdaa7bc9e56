// Package resp speaks as much of the Redis protocol (RESP2) as the bookstore
// needs: arrays of bulk strings as commands, all five kinds of replies.
package resp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxBulk bounds a single string.
const maxBulk = 1 << 20

// Client is one connection to a server, made when needed and made anew after
// an error. It is safe for concurrent use, one command at a time.
type Client struct {
	addr string
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
}

// NewClient makes a client of the server at host:port.
func NewClient(addr string) *Client { return &Client{addr: addr} }

// Do sends a command and returns the reply as a string; "" for nil.
func (c *Client) Do(ctx context.Context, args ...string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := c.conn == nil
	v, err := c.once(ctx, args)
	var server *ServerError
	if err != nil && !errors.As(err, &server) && !fresh {
		v, err = c.once(ctx, args) // the kept connection had gone stale
	}
	return v, err
}

func (c *Client) once(ctx context.Context, args []string) (v string, err error) {
	if c.conn == nil {
		d := net.Dialer{Timeout: 2 * time.Second}
		if c.conn, err = d.DialContext(ctx, "tcp", c.addr); err != nil {
			c.conn = nil
			return "", err
		}
		c.r = bufio.NewReader(c.conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err = c.conn.Write(Command(args...)); err == nil {
		v, err = Reply(c.r)
	}
	var server *ServerError
	if err != nil && !errors.As(err, &server) {
		c.conn.Close()
		c.conn = nil
	}
	return v, err
}

// Command encodes a command.
func Command(args ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return []byte(b.String())
}

// ServerError is an error reply.
type ServerError struct{ Text string }

// Error returns the server's text.
func (e *ServerError) Error() string { return e.Text }

// Reply reads one reply that is not an array.
func Reply(r *bufio.Reader) (string, error) {
	line, err := readLine(r)
	if err != nil {
		return "", err
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '-':
		return "", &ServerError{line[1:]}
	case '$':
		return bulk(r, line[1:])
	}
	return "", fmt.Errorf("unexpected reply %q", line)
}

// ReadCommand reads one command.
func ReadCommand(r *bufio.Reader) ([]string, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(line, "*"))
	if line[0] != '*' || err != nil || n < 1 || n > 64 {
		return nil, fmt.Errorf("want an array of bulk strings, got %q", line)
	}
	args := make([]string, n)
	for i := range args {
		if line, err = readLine(r); err != nil {
			return nil, err
		}
		if line[0] != '$' {
			return nil, fmt.Errorf("want a bulk string, got %q", line)
		}
		if args[i], err = bulk(r, line[1:]); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("empty line")
	}
	return line, nil
}

func bulk(r *bufio.Reader, length string) (string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n > maxBulk {
		return "", fmt.Errorf("bad length %q", length)
	}
	if n < 0 {
		return "", nil
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
