package config

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// lookEvery is how long a change of a secret's files may go unnoticed.
const lookEvery = 2 * time.Second

// heldFile is a secret that has to do with files; refs count those who refer to it by path.
type heldFile struct {
	*fileSecret
	refs int
}

// refFile begins with a secret in a file, or counts one more reference. mu is held.
func (s *Store) refFile(n need) {
	h := s.files[n.name]
	if h == nil {
		h = &heldFile{fileSecret: newFileSecret(n)}
		s.follow(h)
		s.lookAt(h)
	}
	h.refs++
}

func (s *Store) unrefFile(n need) {
	h := s.files[n.name]
	if h == nil {
		return
	}
	if h.refs--; h.refs == 0 {
		delete(s.files, n.name)
		delete(s.records, recordKey{wire.TypeSecret, n.name})
		s.arrived(waitKey{wire.TypeSecret, n.name})
		s.opt.Secrets.Remove(n.name)
	}
}

// followParts looks from now on at the files that a secret of the control plane names. mu is held.
func (s *Store) followParts(f *fileSecret) {
	delete(s.files, f.name)
	if len(filesOf(f.fixed)) > 0 && s.secrets[f.name] != nil {
		s.follow(&heldFile{fileSecret: f})
	}
}

// follow begins to look at files, with the first of them.
func (s *Store) follow(h *heldFile) {
	s.files[h.name] = h
	if s.ctx != nil {
		s.watchFiles()
	}
}

// watchFiles looks at files as long as there are some. mu is held.
func (s *Store) watchFiles() {
	if s.watching || len(s.files) == 0 {
		return
	}
	s.watching = true
	ctx := s.ctx
	s.wg.Go(func() {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		for s.lookAtAll(ctx) {
			select {
			case <-ctx.Done():
			case <-t.C:
			}
		}
	})
}

// lookAtAll looks once at all files. false: there is no more to look at.
func (s *Store) lookAtAll(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil || len(s.files) == 0 {
		s.watching = false
		return false
	}
	changed := false
	for _, h := range s.files {
		changed = s.lookAt(h) || changed
	}
	if changed {
		s.progressLocked()
	}
	return true
}

// lookAt reads a secret if its files have changed.
func (s *Store) lookAt(h *heldFile) (changed bool) {
	m, err := h.look(s.opt.Secrets)
	if err != nil {
		s.opt.Log.Warn("secret in files: not usable, keeping what is there", "name", h.name, "error", err)
	}
	if m == nil {
		return false
	}
	s.arrived(waitKey{wire.TypeSecret, h.name})
	if body, err := anypb.New(withoutKey(m)); err == nil && h.path != "" {
		s.records[recordKey{wire.TypeSecret, h.name}] = &Record{
			Type: wire.TypeSecret, Name: h.name, Version: contentHash(m), Body: body, Updated: time.Now(),
		}
	}
	return true
}
