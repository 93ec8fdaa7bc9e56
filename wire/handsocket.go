package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// The hand-socket protocol: a process in a network namespace without a way out
// asks the supervisor, which lives in the host's, for sockets. A socket keeps
// the namespace that it was made in, so a connection dialled outside can be
// handed over and used inside.
//
// One request a connection of the unix stream socket: one line of JSON there,
// one line of JSON back, with the socket attached (SCM_RIGHTS) where there is
// one. Whoever asked and closes early has taken the request back.

// Operations of a HandRequest.
const (
	HandDial    = "dial"    // a connected TCP or UDP socket to Address
	HandListen  = "listen"  // a listening TCP socket at Address, on the host's loopback only
	HandResolve = "resolve" // the addresses of Host as the host's resolver knows them
)

const (
	// HandNameserver, as Address of a dial over udp or tcp, stands for the
	// host's own nameserver.
	HandNameserver = "nameserver"
	// HandHostName is the name by which programs in the mesh reach services on
	// the loopback of the host; it resolves to HandHostAddress, and a dial to
	// that address goes to the host's loopback.
	HandHostName = "host.weft.internal"
	// HandPortShift is how much higher a port is offered that may not be bound.
	HandPortShift = 8000
	// HandMaxMessage bounds a request and an answer.
	HandMaxMessage = 64 << 10
)

// HandHostAddress stands for the host's loopback (RFC 7600's dummy address: it
// is never on the wire).
func HandHostAddress() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 0, 8}) }

// HandRequest asks for one thing.
type HandRequest struct {
	Op      string `json:"op"`
	Network string `json:"network,omitempty"` // tcp or udp
	Address string `json:"address,omitempty"` // "1.2.3.4:443"; HandNameserver
	Host    string `json:"host,omitempty"`
}

// HandAnswer is the reply. Error is empty when it worked.
type HandAnswer struct {
	Error string `json:"error,omitempty"`
	// Timeout and Refused tell the two errors apart that a caller treats specially.
	Timeout bool `json:"timeout,omitempty"`
	Refused bool `json:"refused,omitempty"`
	// Address is the socket's own address: for a listener where it really listens.
	Address string `json:"address,omitempty"`
	// Note says for a person what is different from what was asked, e.g. that
	// port 80 may not be bound and 8080 is used.
	Note      string   `json:"note,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

// HandError is the supervisor's refusal, or the error of the call it made.
type HandError struct {
	Op, Target string
	Text       string
	timeout    bool
	refused    bool
}

// Error says what failed.
func (e *HandError) Error() string { return e.Op + " " + e.Target + " outside: " + e.Text }

// Timeout makes a HandError a net.Error.
func (e *HandError) Timeout() bool { return e.timeout }

// Temporary makes a HandError a net.Error.
func (e *HandError) Temporary() bool { return false }

// Is reports a refused connection as syscall.ECONNREFUSED.
func (e *HandError) Is(target error) bool { return e.refused && target == syscall.ECONNREFUSED }

// HandClient asks the hand-socket server at Path. It is safe for concurrent use.
type HandClient struct{ Path string }

// Dial returns a connection to addr made outside; network is "tcp" or "udp".
// The connection is a *net.TCPConn or *net.UDPConn.
func (c HandClient) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	return c.dial(ctx, network, addr.String())
}

// DialNameserver returns a connection to the host's nameserver; network is "udp" or "tcp".
func (c HandClient) DialNameserver(ctx context.Context, network string) (net.Conn, error) {
	return c.dial(ctx, network, HandNameserver)
}

func (c HandClient) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	_, f, err := c.ask(ctx, HandRequest{Op: HandDial, Network: network, Address: addr})
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, fmt.Errorf("dial %s outside: the answer of %s brings no socket", addr, c.Path)
	}
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("dial %s outside: %w", addr, err)
	}
	return nc, nil
}

// Listen returns a listener made outside, on the host's loopback. Its Addr may
// differ from addr; note then says so for a person.
func (c HandClient) Listen(ctx context.Context, addr netip.AddrPort) (ln net.Listener, note string, err error) {
	ans, f, err := c.ask(ctx, HandRequest{Op: HandListen, Network: "tcp", Address: addr.String()})
	if err != nil {
		return nil, "", err
	}
	if f == nil {
		return nil, "", fmt.Errorf("listen %s outside: the answer of %s brings no socket", addr, c.Path)
	}
	defer f.Close()
	ln, err = net.FileListener(f)
	if err != nil {
		return nil, "", fmt.Errorf("listen %s outside: %w", addr, err)
	}
	return ln, ans.Note, nil
}

// Resolve returns the addresses of a host name as the host's resolver knows them.
func (c HandClient) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ans, f, err := c.ask(ctx, HandRequest{Op: HandResolve, Host: host})
	if err != nil {
		return nil, err
	}
	if f != nil {
		f.Close()
	}
	out := make([]netip.Addr, 0, len(ans.Addresses))
	for _, s := range ans.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("resolve %s outside: the answer has %q for an address", host, s)
		}
		out = append(out, a)
	}
	return out, nil
}

// ask does one request. The file, when there is one, is the caller's to close.
func (c HandClient) ask(ctx context.Context, req HandRequest) (*HandAnswer, *os.File, error) {
	target := req.Address
	if req.Op == HandResolve {
		target = req.Host
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", c.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s outside: is the supervisor running? %w", req.Op, target, err)
	}
	uc := nc.(*net.UnixConn)
	defer uc.Close()
	stop := context.AfterFunc(ctx, func() { uc.SetDeadline(time.Unix(1, 0)) }) // closing takes the request back
	defer stop()
	ans, f, err := exchange(uc, req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, fmt.Errorf("%s %s outside: %w", req.Op, target, err)
	}
	if ans.Error != "" {
		if f != nil {
			f.Close()
		}
		return nil, nil, &HandError{Op: req.Op, Target: target, Text: ans.Error, timeout: ans.Timeout, refused: ans.Refused}
	}
	return ans, f, nil
}

func exchange(uc *net.UnixConn, req HandRequest) (*HandAnswer, *os.File, error) {
	line, err := json.Marshal(req)
	if err != nil {
		panic("BUG: hand-socket request: " + err.Error())
	}
	if _, err := uc.Write(append(line, '\n')); err != nil {
		return nil, nil, err
	}
	line, f, err := ReadHandLine(uc)
	if err != nil {
		return nil, nil, err
	}
	ans := &HandAnswer{}
	if err := json.Unmarshal(line, ans); err != nil {
		if f != nil {
			f.Close()
		}
		return nil, nil, fmt.Errorf("the answer is not understood: %w", err)
	}
	return ans, f, nil
}

// ReadHandLine reads one line and the file attached to it, if any. More than
// one attached file is an error.
func ReadHandLine(uc *net.UnixConn) (line []byte, file *os.File, err error) {
	var fds []int
	defer func() {
		if file == nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}()
	buf := make([]byte, 4096)
	oob := make([]byte, syscall.CmsgSpace(4*4))
	for {
		n, oobn, flags, _, err := uc.ReadMsgUnix(buf, oob)
		if oobn > 0 {
			got, perr := parseRights(oob[:oobn])
			fds = append(fds, got...)
			if perr != nil {
				return nil, nil, perr
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if flags&syscall.MSG_CTRUNC != 0 || len(fds) > 1 {
			return nil, nil, errors.New("more than one socket attached")
		}
		if n == 0 {
			return nil, nil, errors.New("closed before the end of the line")
		}
		line = append(line, buf[:n]...)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			if len(fds) == 1 {
				syscall.CloseOnExec(fds[0])
				file = os.NewFile(uintptr(fds[0]), "handed")
			}
			return line[:i], file, nil
		}
		if len(line) > HandMaxMessage {
			return nil, nil, fmt.Errorf("line longer than %d bytes", HandMaxMessage)
		}
	}
}

func parseRights(oob []byte) ([]int, error) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var fds []int
	for i := range msgs {
		got, err := syscall.ParseUnixRights(&msgs[i])
		if err != nil {
			return fds, fmt.Errorf("control message: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// ParseHandRequest reads and checks a request line.
func ParseHandRequest(line []byte) (HandRequest, error) {
	var r HandRequest
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("hand-socket request: %w", err)
	}
	switch r.Op {
	case HandResolve:
		if r.Host == "" || strings.ContainsAny(r.Host, " \t\r\n/") {
			return r, fmt.Errorf("hand-socket request: host %q: want a name", r.Host)
		}
		return r, nil
	case HandDial, HandListen:
	default:
		return r, fmt.Errorf("hand-socket request: op %q: want %s, %s or %s", r.Op, HandDial, HandListen, HandResolve)
	}
	if r.Network != "tcp" && r.Network != "udp" {
		return r, fmt.Errorf("hand-socket request: network %q: want tcp or udp", r.Network)
	}
	if r.Op == HandDial && r.Address == HandNameserver {
		return r, nil
	}
	if _, err := netip.ParseAddrPort(r.Address); err != nil {
		return r, fmt.Errorf("hand-socket request: address %q: want ip:port: %w", r.Address, err)
	}
	return r, nil
}
