package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The handover protocol: a new proxy asks the one that runs for its sockets,
// over the unix stream socket at a path that both were given. The socket at
// that path is handed over too, so that it always leads to the process that
// accepts connections.
//
// Messages in both directions are a length of four bytes (big endian) and a
// HandoverMessage as JSON; a socket comes attached to the length (SCM_RIGHTS).
//
//	asker → owner  status                        owner → asker  status
//	new → old      take                          old → new      welcome, socket…, state…, end; or refused
//	new → old      ready (it accepts)            old → new      session… connection… count…, done (it accepts no more)
//	then, until the old one has ended            old → new      connection… count…; bye
//	                                             new → old      quit (the new one was told to end)
//	old → owner    attach (its successor died)   owner → old    welcome; then as above
const (
	HandoverStatusOp = "status"
	HandoverTake     = "take"
	HandoverWelcome  = "welcome"
	HandoverRefused  = "refused"
	HandoverSocket   = "socket"
	// HandoverConnection is a connection at a message border, attached like a
	// socket; only to who has said HandoverMessage.Connections.
	HandoverConnection = "connection"
	HandoverState      = "state"
	HandoverEnd        = "end"
	HandoverReady      = "ready"
	HandoverSession    = "session" // of datagrams, with its socket
	HandoverCount      = "count"
	HandoverDone       = "done"
	HandoverBye        = "bye"
	HandoverQuit       = "quit"
	HandoverAttach     = "attach"
)

const (
	// HandoverVersion is that of the protocol. Processes of different versions
	// of Weft may hand over to each other as long as it is the same.
	HandoverVersion = 1
	// handoverMaxMessage bounds a message: a part of the warm state.
	handoverMaxMessage = 16 << 20
)

// HandoverMessage is one message; which fields are set depends on Op.
type HandoverMessage struct {
	Op string `json:"op"`
	// Protocol is HandoverVersion (take, attach, welcome).
	Protocol int `json:"protocol,omitempty"`
	// Status describes the sender (take, attach, welcome, status).
	Status *HandoverStatus `json:"status,omitempty"`
	// Connections: the sender takes connections over (take, welcome).
	Connections bool `json:"connections,omitempty"`
	// Error and Retry of refused: Retry says that it is worth trying again.
	Error string `json:"error,omitempty"`
	Retry bool   `json:"retry,omitempty"`
	// Name is the socket's or the state's, Body the state, the counts, or what is
	// known of a connection.
	Name string          `json:"name,omitempty"`
	Body json.RawMessage `json:"body,omitempty"`
	// Bound of ready: how long the old process may go on, in nanoseconds; 0: as
	// it was told itself.
	Bound time.Duration `json:"bound,omitempty"`
}

// HandoverStatus describes one process of a proxy.
type HandoverStatus struct {
	// Generation counts the handovers, from 0.
	Generation int       `json:"generation"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"` // in its own PID namespace
	Started    time.Time `json:"started"`
	// Connections that are open downstream.
	Connections int64 `json:"connections"`
	// Draining are the generations before that have connections still.
	Draining []HandoverStatus `json:"draining,omitempty"`
}

// HandoverConn sends and receives messages. Send and Receive may be called at
// the same time, each from one goroutine at a time; Send from any.
type HandoverConn struct {
	uc *net.UnixConn
	mu sync.Mutex // of Send

	// Receive's own.
	buf []byte
	fds []int
}

// NewHandoverConn wraps a connection, which it owns.
func NewHandoverConn(uc *net.UnixConn) *HandoverConn { return &HandoverConn{uc: uc} }

// DialHandover connects to the process that owns path.
func DialHandover(ctx context.Context, path string) (*HandoverConn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return NewHandoverConn(nc.(*net.UnixConn)), nil
}

// Close ends the connection.
func (c *HandoverConn) Close() error { return c.uc.Close() }

// CloseWith ends the connection when ctx does, until stop is called.
func (c *HandoverConn) CloseWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.uc.Close() })
}

// Send sends a message, with a socket attached where there is one: fd as
// syscall.RawConn's Control gives it.
func (c *HandoverConn) Send(m HandoverMessage, fd ...int) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("handover message %s: %w", m.Op, err)
	}
	if len(body) > handoverMaxMessage {
		return fmt.Errorf("handover message %s %s: %d bytes are too many", m.Op, m.Name, len(body))
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body)))
	var rights []byte
	if len(fd) > 0 {
		rights = syscall.UnixRights(fd...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, _, err := c.uc.WriteMsgUnix(head[:], rights, nil)
	if err == nil && n < len(head) {
		_, err = c.uc.Write(head[n:])
	}
	if err == nil {
		_, err = c.uc.Write(body)
	}
	return err
}

// Receive returns the next message and the socket attached to it, which is the
// caller's to close; nil: none.
func (c *HandoverConn) Receive() (m HandoverMessage, file *os.File, err error) {
	defer func() {
		if err != nil {
			c.closeFDs()
		}
	}()
	if err := c.fill(4); err != nil {
		return m, nil, err
	}
	n := int(binary.BigEndian.Uint32(c.buf))
	if n > handoverMaxMessage {
		return m, nil, fmt.Errorf("handover message of %d bytes", n)
	}
	if err := c.fill(4 + n); err != nil {
		return m, nil, err
	}
	if err := json.Unmarshal(c.buf[4:4+n], &m); err != nil {
		return m, nil, fmt.Errorf("handover message: %w", err)
	}
	c.buf = slices.Delete(c.buf, 0, 4+n)
	if m.Op != HandoverSocket && m.Op != HandoverSession && m.Op != HandoverConnection {
		return m, nil, nil
	}
	if len(c.fds) == 0 {
		return m, nil, fmt.Errorf("handover message: no socket attached for %s", m.Name)
	}
	file = os.NewFile(uintptr(c.fds[0]), m.Name)
	c.fds = c.fds[1:]
	return m, file, nil
}

// fill reads until n bytes are there.
func (c *HandoverConn) fill(n int) error {
	var oob [64]byte
	for len(c.buf) < n {
		c.buf = slices.Grow(c.buf, max(n-len(c.buf), 4096))
		got, oobn, flags, _, err := c.uc.ReadMsgUnix(c.buf[len(c.buf):cap(c.buf)], oob[:])
		if oobn > 0 {
			fds, perr := parseRights(oob[:oobn])
			c.fds = append(c.fds, fds...)
			err = errors.Join(err, perr)
		}
		switch {
		case err != nil:
			return err
		case flags&syscall.MSG_CTRUNC != 0:
			return errors.New("handover message: sockets were lost: is the limit of open files reached?")
		case got == 0:
			return errors.New("handover: the other process closed the connection")
		}
		c.buf = c.buf[:len(c.buf)+got]
	}
	return nil
}

func (c *HandoverConn) closeFDs() {
	for _, fd := range c.fds {
		syscall.Close(fd)
	}
	c.fds = nil
}

// AskHandoverStatus asks the process that owns path who it is.
func AskHandoverStatus(ctx context.Context, path string) (HandoverStatus, error) {
	c, err := DialHandover(ctx, path)
	if err != nil {
		return HandoverStatus{}, err
	}
	defer c.Close()
	defer c.CloseWith(ctx)()
	if err := c.Send(HandoverMessage{Op: HandoverStatusOp}); err != nil {
		return HandoverStatus{}, err
	}
	m, f, err := c.Receive()
	if f != nil {
		f.Close()
	}
	switch {
	case err != nil:
		return HandoverStatus{}, err
	case m.Op != HandoverStatusOp || m.Status == nil:
		return HandoverStatus{}, fmt.Errorf("handover: unexpected answer %q %s", m.Op, m.Error)
	}
	return *m.Status, nil
}
