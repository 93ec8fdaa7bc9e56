package fswatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// inotify is the system's notice of files. It says when a writer has closed a file,
// which portable libraries do not pass on.
type inotify struct {
	file *os.File
	ch   chan event
	done chan struct{} // closed by close
	read chan struct{} // closed when nobody reads any more

	mu     sync.Mutex
	byDir  map[string]int32
	byMark map[int32]string
}

const interest = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF

func newWatcher() (watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &inotify{
		file: os.NewFile(uintptr(fd), "inotify"), ch: make(chan event, 64), done: make(chan struct{}), read: make(chan struct{}),
		byDir: map[string]int32{}, byMark: map[int32]string{},
	}
	go w.follow()
	return w, nil
}

func (w *inotify) add(dir string) error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var mark int
	var failed error
	if err := conn.Control(func(fd uintptr) { mark, failed = unix.InotifyAddWatch(int(fd), dir, interest|unix.IN_ONLYDIR) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byDir[dir], w.byMark[int32(mark)] = int32(mark), dir
	return nil
}

func (w *inotify) remove(dir string) {
	w.mu.Lock()
	mark, ok := w.byDir[dir]
	delete(w.byDir, dir)
	if w.byMark[mark] == dir {
		delete(w.byMark, mark)
	} else {
		ok = false // another name of the same folder is watched
	}
	w.mu.Unlock()
	conn, err := w.file.SyscallConn()
	if !ok || err != nil {
		return
	}
	// It fails when the folder is gone, and the watch with it.
	_ = conn.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(mark)) })
}

func (w *inotify) events() <-chan event { return w.ch }

func (w *inotify) close() {
	close(w.done)
	w.file.Close()
	<-w.read
}

// follow reads events until the file is closed.
func (w *inotify) follow() {
	defer close(w.read)
	defer close(w.ch)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			mark := int32(binary.NativeEndian.Uint32(rest))
			mask := binary.NativeEndian.Uint32(rest[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:end], "\x00"))
			rest = rest[end:]
			if !w.tell(mark, mask, name) {
				return
			}
		}
	}
}

// tell hands an event on; false when nobody takes it any more.
func (w *inotify) tell(mark int32, mask uint32, name string) bool {
	w.mu.Lock()
	dir, known := w.byMark[mark]
	w.mu.Unlock()
	var e event
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0, known && name == "":
		e.lost = true
	case !known:
		return true
	default:
		e = event{path: filepath.Join(dir, name), whole: mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0}
	}
	select {
	case w.ch <- e:
		return true
	case <-w.done:
		return false
	}
}
