// Package wholefile replaces files as a whole: whoever reads one sees the old content
// or the new, never a part, and a disk that is full leaves the old one standing.
//
// It orders nothing between several files.
package wholefile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file at path. The content is on the disk before the name is: a
// machine that fails at once after that has one of both.
func Write(path string, content []byte, mode fs.FileMode) error {
	return write(path, content, mode, func(tmp string) error { return os.Rename(tmp, path) })
}

// Create makes a file that is not there. Of several who do so at once one succeeds; the
// error of the others is fs.ErrExist, and the file is whole by then.
func Create(path string, content []byte, mode fs.FileMode) error {
	return write(path, content, mode, func(tmp string) error {
		if err := os.Link(tmp, path); err != nil {
			return err
		}
		return os.Remove(tmp)
	})
}

func write(path string, content []byte, mode fs.FileMode, name func(tmp string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = name(f.Name())
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
