package file

import (
	"fmt"
	"io"
	"os"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/fswatch"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Read reads files and folders once, as a Source would, which need not run for it:
// the delta has all objects that are good, in the order of model.SortObjects, and
// the Findings of all documents. Stdin among the paths is read from in. An error
// means that a path is not there.
func Read(paths []string, in io.Reader) (model.Delta, error) {
	return New(Options{}).read(paths, in)
}

// ReadForAnalysis is Read with the decoder of NewAnalysisDecoder.
func ReadForAnalysis(paths []string, in io.Reader) (model.Delta, error) {
	s := New(Options{})
	s.dec = NewAnalysisDecoder()
	return s.read(paths, in)
}

func (s *Source) read(paths []string, in io.Reader) (model.Delta, error) {
	var seen scanned
	for _, p := range paths {
		if p == Stdin {
			if err := s.input(in, &seen); err != nil {
				return model.Delta{}, err
			}
			continue
		}
		if _, err := os.Stat(p); err != nil {
			return model.Delta{}, fmt.Errorf("%w (check the path)", err)
		}
		s.opts.Paths = append(s.opts.Paths, p)
	}
	found := s.look(fswatch.Notice{All: true})
	seen.order = append(seen.order, found.order...)
	seen.trouble = append(seen.trouble, found.trouble...)
	if len(seen.order)+len(seen.trouble) == 0 {
		return model.Delta{}, fmt.Errorf("no YAML in %v: name a file, or a folder with files *.yaml or *.yml", paths)
	}
	d, _ := s.assemble(seen)
	return d, nil
}

// input adds the documents of standard input.
func (s *Source) input(in io.Reader, out *scanned) error {
	const called = "standard input"
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", called, err)
	case len(data) > maxFile:
		return fmt.Errorf("%s is larger than %d MiB: write it to files", called, maxFile>>20)
	}
	out.order = append(out.order, &entry{path: called, results: s.dec.Decode(data, input(called))})
	return nil
}
