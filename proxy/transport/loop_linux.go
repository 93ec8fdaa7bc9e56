package transport

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loop is one event loop: a goroutine over an epoll instance of its own. All
// sockets are registered once, edge triggered, for both directions; an event is
// only a hint to try, so that one that comes late for a descriptor which is
// somebody else's by now does no harm.
//
// The goroutine lives while there are connections. When nothing is ready it
// parks in the runtime's own poller, which watches the epoll descriptor, so
// that no thread is held.
type loop struct {
	// Set at construction.
	ep   int
	file *os.File
	raw  syscall.RawConn
	wake int // an eventfd: look at n

	n  atomic.Int64 // connections
	mu sync.Mutex
	// Guarded by mu.
	running bool
	inBatch bool     // events are being handled: late and mail will be looked at
	late    []*lconn // to be flushed at the end of the batch
	mail    []letter // events of the process's own making

	// The loop's own: the other halves of the double buffers.
	spareLate []*lconn
	spareMail []letter
}

// letter is events that a connection is to have on the loop's goroutine.
type letter struct {
	c    *lconn
	bits uint32
}

// batch is how many events are taken at a time.
const batch = 128

// loops are the process's event loops, made when the first connection needs one.
var loops struct {
	once sync.Once
	all  []*loop
	err  error
	next atomic.Uint32
}

// pickLoop returns a loop, in turns.
func pickLoop() (*loop, error) {
	loops.once.Do(func() {
		for range runtime.GOMAXPROCS(0) {
			l, err := newLoop()
			if err != nil {
				loops.err = err
				return
			}
			loops.all = append(loops.all, l)
		}
	})
	if loops.err != nil {
		return nil, loops.err
	}
	return loops.all[int(loops.next.Add(1))%len(loops.all)], nil
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Only a non-blocking descriptor is given to the runtime's poller.
	if err := unix.SetNonblock(ep, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{ep: ep, wake: wake, file: os.NewFile(uintptr(ep), "event loop")}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("event loop: %w", err)
	}
	if err := l.control(unix.EPOLL_CTL_ADD, wake); err != nil {
		return nil, err
	}
	return l, nil
}

// edges is what is asked of every socket.
const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1)

func (l *loop) control(op, fd int) error {
	ev := unix.EpollEvent{Events: edges, Fd: int32(fd)}
	if err := unix.EpollCtl(l.ep, op, fd, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// attach registers c, whose fd it is.
func (l *loop) attach(c *lconn) error {
	byFD.store(c.fd, c)
	l.mu.Lock()
	l.n.Add(1)
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	if err := l.control(unix.EPOLL_CTL_ADD, c.fd); err != nil {
		l.detach(c)
		return err
	}
	return nil
}

// detach forgets c; its fd is about to be closed, which ends the registration.
func (l *loop) detach(c *lconn) {
	byFD.store(c.fd, nil)
	if l.n.Add(-1) > 0 {
		return
	}
	l.rouse()
}

// run is the loop.
func (l *loop) run() {
	var events [batch]unix.EpollEvent
	n := 0
	wait := func(uintptr) bool {
		n = l.ready(&events)
		return n > 0
	}
	for {
		if err := l.raw.Read(wait); err != nil {
			panic("BUG: event loop: " + err.Error()) // its descriptor is never closed
		}
		l.begin()
		for {
			for i := range n {
				l.event(&events[i])
			}
			more := l.finish()
			n = l.ready(&events)
			if n == 0 && !more && l.end() {
				break
			}
		}
		if l.stop() {
			return
		}
	}
}

// event tells a connection what its socket is ready for.
func (l *loop) event(ev *unix.EpollEvent) {
	if int(ev.Fd) == l.wake {
		var b [8]byte
		_, _ = unix.Read(l.wake, b[:])
		return
	}
	c := byFD.load(int(ev.Fd))
	if c == nil {
		return
	}
	var bits uint32
	if ev.Events&unix.EPOLLIN != 0 {
		bits |= evRead
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		bits |= evWrite
	}
	if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		bits |= evRead | evEnd
	}
	c.schedule(bits)
}

func (l *loop) begin() {
	l.mu.Lock()
	l.inBatch = true
	l.mu.Unlock()
}

// finish flushes what was to be flushed at the end of a batch, and delivers the
// mail. more: there was some.
func (l *loop) finish() (more bool) {
	for {
		l.mu.Lock()
		late, mail := l.late, l.mail
		l.late, l.mail = l.spareLate[:0], l.spareMail[:0]
		l.mu.Unlock()
		for i, c := range late {
			late[i] = nil
			c.schedule(evFlush)
		}
		for i, m := range mail {
			mail[i] = letter{}
			m.c.schedule(m.bits)
		}
		l.spareLate, l.spareMail = late, mail
		more = more || len(mail) > 0
		if len(late) == 0 {
			return more
		}
	}
}

// end leaves the batch; false: something is left to do.
func (l *loop) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) > 0 || len(l.mail) > 0 {
		return false
	}
	l.inBatch = false
	return true
}

// stop ends the goroutine when there are no connections.
func (l *loop) stop() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n.Load() > 0 {
		return false
	}
	l.running = false
	return true
}

// flushSoon flushes c at the end of the present batch; false: there is none.
func (l *loop) flushSoon(c *lconn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inBatch {
		l.late = append(l.late, c)
	}
	return l.inBatch
}

// send makes events happen to c later, on the loop's goroutine: after others had
// their turn, and not under the caller's locks.
func (l *loop) send(c *lconn, bits uint32) {
	l.mu.Lock()
	l.mail = append(l.mail, letter{c, bits})
	in := l.inBatch
	l.mu.Unlock()
	if !in {
		l.rouse()
	}
}

// rouse ends the loop's wait.
func (l *loop) rouse() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wake, one[:])
}

// ready takes the events that are there.
func (l *loop) ready(events *[batch]unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&events[0])), batch, 0, 0, 0)
		if errno == 0 {
			return int(n)
		}
		if errno != unix.EINTR {
			panic("BUG: epoll_wait: " + errno.Error())
		}
	}
}

// fdTable finds the connection of a descriptor without a lock.
type fdTable [1 << 10]atomic.Pointer[[1 << 10]atomic.Pointer[lconn]]

var byFD fdTable

func (t *fdTable) load(fd int) *lconn {
	if page := t[fd>>10&(1<<10-1)].Load(); page != nil {
		return page[fd&(1<<10-1)].Load()
	}
	return nil
}

func (t *fdTable) store(fd int, c *lconn) {
	p := &t[fd>>10&(1<<10-1)]
	page := p.Load()
	if page == nil {
		p.CompareAndSwap(nil, new([1 << 10]atomic.Pointer[lconn]))
		page = p.Load()
	}
	page[fd&(1<<10-1)].Store(c)
}
