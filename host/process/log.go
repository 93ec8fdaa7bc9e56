package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	keptLines = 1000
	maxLine   = 64 << 10
	// DefaultLogSize is when a log file is rotated; one old file is kept.
	DefaultLogSize = 16 << 20
)

// Log keeps what a program says: the last lines in memory, all of them in a
// file that is rotated. It is safe for concurrent use.
type Log struct {
	path string
	max  int64

	mu    sync.Mutex
	file  *os.File
	size  int64
	lines []string // ring
	first uint64   // number of the oldest line in the ring
	next  uint64   // number of the next line
	wake  chan struct{}
	done  bool
}

// NewLog makes a log; an empty path: in memory only. max is the size at which
// the file becomes path.1; 0: DefaultLogSize.
func NewLog(path string, max int64) (*Log, error) {
	l := &Log{path: path, max: max, wake: make(chan struct{})}
	if l.max <= 0 {
		l.max = DefaultLogSize
	}
	if path == "" {
		return l, nil
	}
	return l, l.open()
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("log: %w", err)
	}
	l.file, l.size = f, fi.Size()
	return nil
}

// Add appends a line.
func (l *Log) Add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	if len(l.lines) < keptLines {
		l.lines = append(l.lines, line)
	} else {
		l.lines[l.next%keptLines] = line
		l.first++
	}
	l.next++
	if l.file != nil {
		n, err := l.file.WriteString(line + "\n")
		l.size += int64(n)
		if err == nil && l.size >= l.max {
			l.rotateLocked()
		}
	}
	close(l.wake)
	l.wake = make(chan struct{})
}

// rotateLocked begins a new file. A log that cannot be written must not stop
// the program: it goes on in memory.
func (l *Log) rotateLocked() {
	l.file.Close()
	l.file = nil
	if os.Rename(l.path, l.path+".1") == nil {
		_ = l.open()
	}
}

// Write implements io.Writer: lines of a command's output.
func (l *Log) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		l.Add(string(bytes.TrimRight(line, "\r\n")))
	}
	return len(b), nil
}

// Copy adds what comes from r, line by line, until it ends.
func (l *Log) Copy(r io.Reader) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 { // a line that is too long comes in pieces
			l.Add(string(bytes.TrimRight(line, "\r\n")))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Tail returns the last n lines, or fewer.
func (l *Log) Tail(n int) []string {
	lines, _, _ := l.since(0, n)
	return lines
}

// End is the number of the next line.
func (l *Log) End() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Since returns the last n lines, or fewer, from number from on.
func (l *Log) Since(from uint64, n int) []string {
	lines, _, _ := l.since(from, n)
	return lines
}

// since returns up to n of the last lines from number from on, the number of
// the line after them, and what is closed when there are more; nil: none ever.
func (l *Log) since(from uint64, n int) (lines []string, next uint64, wake chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = max(from, l.first)
	if have := l.next - from; n >= 0 && have > uint64(n) {
		from = l.next - uint64(n)
	}
	for ; from < l.next; from++ {
		lines = append(lines, l.lines[from%keptLines])
	}
	if l.done {
		return lines, l.next, nil
	}
	return lines, l.next, l.wake
}

// Follow calls each with the last n lines and then with every further one,
// until ctx ends, the log is closed, or each returns an error, which it returns.
func (l *Log) Follow(ctx context.Context, n int, each func(line string) error) error {
	lines, next, wake := l.since(0, n)
	for {
		for _, line := range lines {
			if err := each(line); err != nil {
				return err
			}
		}
		if wake == nil {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
		lines, next, wake = l.since(next, -1)
	}
}

// Close ends the log: followers return, the file is closed. What was kept can
// still be read with Tail.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return nil
	}
	l.done = true
	close(l.wake)
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
