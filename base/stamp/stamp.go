// Package stamp tells whether files have changed since they were looked at,
// without being told: by what the file system says of them, and by their
// contents as long as that is not enough.
//
// A clock of file systems ticks every few milliseconds only, so that a file which
// is replaced by one of the same size soon after it was written looks the same. What
// was young when its stamp was taken is therefore compared by its checksum too,
// until it is old. A missing file is a state like another. The package watches
// nothing and keeps no contents.
package stamp

import (
	"crypto/sha256"
	"io"
	"os"
	"time"
)

// settled is the age from which on a file's time tells it apart from any later one:
// more than the coarsest tick of file systems in use (2 s, FAT).
const settled = 3 * time.Second

// Stamp is what files looked like. The zero Stamp is that of no files and never changes.
type Stamp struct{ files []file }

type file struct {
	path string
	info os.FileInfo // nil: it could not be looked at
	// Of a file that was young: what was in it. young is false for the others.
	young bool
	sum   [sha256.Size]byte
}

// Take looks at files. Take the stamp before you read them: then a change
// meanwhile is seen as one.
func Take(paths ...string) Stamp {
	s := Stamp{files: make([]file, len(paths))}
	for i, p := range paths {
		f := file{path: p}
		if info, err := os.Stat(p); err == nil {
			f.info = info
			if f.young = time.Since(info.ModTime()) < settled; f.young {
				f.sum = sum(p)
			}
		}
		s.files[i] = f
	}
	return s
}

// And is the stamp of the files of both.
func (s Stamp) And(t Stamp) Stamp {
	return Stamp{files: append(s.files[:len(s.files):len(s.files)], t.files...)}
}

// Changed says whether a file is different from what it was when the stamp was taken.
func (s *Stamp) Changed() bool {
	for i := range s.files {
		if s.files[i].changed() {
			return true
		}
	}
	return false
}

func (f *file) changed() bool {
	now, err := os.Stat(f.path)
	if err != nil || f.info == nil {
		return (err == nil) != (f.info != nil)
	}
	if !os.SameFile(now, f.info) || now.Size() != f.info.Size() || !now.ModTime().Equal(f.info.ModTime()) {
		return true
	}
	if !f.young {
		return false
	}
	old := time.Since(now.ModTime()) >= settled // known before the contents are read
	if sum(f.path) != f.sum {
		return true
	}
	f.young = !old
	return false
}

// sum is the checksum of what is in a file; of one that cannot be read, that of nothing.
func sum(path string) (out [sha256.Size]byte) {
	r, err := os.Open(path)
	if err != nil {
		return out
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err == nil {
		h.Sum(out[:0])
	}
	return out
}
