//go:build !linux

package fswatch

import "github.com/fsnotify/fsnotify"

// portable is notice of files on other systems. It does not tell when a file is whole.
type portable struct {
	w    *fsnotify.Watcher
	ch   chan event
	done chan struct{} // closed by close
	read chan struct{} // closed when nobody reads any more
}

func newWatcher() (watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	p := &portable{w: w, ch: make(chan event), done: make(chan struct{}), read: make(chan struct{})}
	go p.follow()
	return p, nil
}

func (p *portable) add(dir string) error { return p.w.Add(dir) }

func (p *portable) remove(dir string) {
	p.w.Remove(dir) //nolint:errcheck // it may be gone already
}

func (p *portable) events() <-chan event { return p.ch }

func (p *portable) close() {
	close(p.done)
	p.w.Close()
	<-p.read
}

func (p *portable) follow() {
	defer close(p.read)
	defer close(p.ch)
	for {
		var e event
		select {
		case x, ok := <-p.w.Events:
			if !ok {
				return
			}
			e.path = x.Name
		case _, ok := <-p.w.Errors:
			if !ok {
				return
			}
			e.lost = true
		case <-p.done:
			return
		}
		select {
		case p.ch <- e:
		case <-p.done:
			return
		}
	}
}
