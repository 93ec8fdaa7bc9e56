package hub

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// pipe sends and receives messages on one end of the socket pair.
type pipe struct {
	uc  *net.UnixConn
	mu  sync.Mutex // one writer at a time
	buf []byte     // of the one reader
	oob []byte
}

func newPipe(f *os.File) (*pipe, error) {
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("hub socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("hub socket: it is a %T", nc)
	}
	if err := uc.SetWriteBuffer(4 * maxMessage); err != nil {
		uc.Close()
		return nil, fmt.Errorf("hub socket: %w", err)
	}
	return &pipe{uc: uc, buf: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(8*4))}, nil
}

func (p *pipe) send(m message, body any, files ...*os.File) error {
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			panic("BUG: hub message: " + err.Error())
		}
		m.Body = raw
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic("BUG: hub message: " + err.Error())
	}
	if len(raw) > maxMessage {
		return fmt.Errorf("%s: %d bytes are more than the %d that fit: is the environment that large?", m.Op, len(raw), maxMessage)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			// Not Fd(), which would make the socket blocking for its receiver.
			rc, err := f.SyscallConn()
			if err == nil {
				err = rc.Control(func(fd uintptr) { fds[i] = int(fd) })
			}
			if err != nil {
				return fmt.Errorf("%s: attach: %w", m.Op, err)
			}
		}
		oob = unix.UnixRights(fds...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _, err = p.uc.WriteMsgUnix(raw, oob, nil)
	return err
}

// receive returns the next message; its files are the caller's.
func (p *pipe) receive() (m message, files []*os.File, err error) {
	n, oobn, flags, _, err := p.uc.ReadMsgUnix(p.buf, p.oob)
	if err != nil {
		return m, nil, err
	}
	if oobn > 0 {
		if files, err = attached(p.oob[:oobn]); err != nil {
			return m, nil, err
		}
	}
	if n == 0 {
		return m, files, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return m, nil, fmt.Errorf("hub socket: message truncated")
	}
	if err := json.Unmarshal(p.buf[:n], &m); err != nil {
		closeAll(files)
		return m, nil, fmt.Errorf("hub socket: %w", err)
	}
	return m, files, nil
}

func attached(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("hub socket: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("hub socket: %w", err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "handed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
