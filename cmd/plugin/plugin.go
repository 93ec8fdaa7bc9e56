// Package plugin is what `weft plugin` does: it begins projects of WebAssembly plug-ins, runs a module against
// recorded requests by the data plane's own filter, and pushes one to an image registry.
package plugin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed all:templates
var templates embed.FS

// Languages are those that projects can be begun in.
var Languages = []string{"go", "rust"}

// New begins a project in a folder that is empty or not there. It returns the files that it has written.
func New(dir, language string) ([]string, error) {
	if !slices.Contains(Languages, language) {
		return nil, fmt.Errorf("there is no template in %q: one of %s", language, strings.Join(Languages, ", "))
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	name := filepath.Base(dir)
	if abs, err := filepath.Abs(dir); err == nil {
		name = filepath.Base(abs)
	}
	var written []string
	base := "templates/" + language
	err := fs.WalkDir(templates, base, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := templates.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimSuffix(strings.TrimPrefix(path, base+"/"), ".tmpl")))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		written = append(written, to)
		return os.WriteFile(to, []byte(strings.ReplaceAll(string(raw), "PLUGIN", name)), 0o644)
	})
	return written, err
}
