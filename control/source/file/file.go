// Package file is the source of YAML files: it follows folders, decodes what
// changes, and tells the difference.
//
// One bad document stops no other. An object whose new version is bad keeps its
// last good one, and both facts are Findings. A folder or file that cannot be
// read at the moment changes nothing; a file that was removed takes its objects
// with it. A change shows within 300 ms.
//
// Hidden files and folders and node_modules are left out, and what a
// ".weftignore" in the folder names: one pattern a line, as path.Match reads
// them, against the path below the folder or its first elements.
package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/aeraki"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/fswatch"
	"github.com/weftmesh/weft/control/source/gatewayapi"
	"github.com/weftmesh/weft/control/source/istio"
	"github.com/weftmesh/weft/control/source/kube"
	"github.com/weftmesh/weft/control/source/slime"
	"github.com/weftmesh/weft/control/source/slimemodules"
	"github.com/weftmesh/weft/control/source/weft"
)

// Name is the source's.
const Name = "file"

// Options of a Source.
type Options struct {
	// Paths are the user's folders, or single files.
	Paths []string
	// Overlay is a folder whose objects win over those of Paths, and whose
	// Deleted documents hide them: what `weft apply` and `weft delete` write. An
	// object that changes in Paths after that takes its place back: the newest
	// word counts. It need not exist yet. Empty: none.
	Overlay string
	Log     *slog.Logger
}

// Source follows folders of YAML.
type Source struct {
	opts Options
	dec  *document.Decoder

	// The rest belongs to Run.
	files    map[string]*entry
	order    []*entry           // as of the last look
	trouble  []model.Finding    // of folders, as of the last look
	objects  map[model.Key]slot // what is in force, by document
	emitted  map[model.Key]model.Object
	covers   map[model.Key]string // the overlay's files
	covered  map[model.Key]uint64 // hashes of the folder's documents that the overlay covers
	findings []model.Finding
	faulty   map[string]bool // files that findings name
	sent     bool
}

// New returns a source; nothing is read before Run.
func New(opts Options) *Source {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Log = opts.Log.With("component", "source/file")
	return &Source{
		opts: opts, dec: NewDecoder(), files: map[string]*entry{},
		objects: map[model.Key]slot{}, emitted: map[model.Key]model.Object{},
	}
}

// NewDecoder returns a decoder of all kinds that Weft reads.
func NewDecoder() *document.Decoder { return newDecoder(kube.FrontEnds(istio.Convert)) }

// NewAnalysisDecoder returns one for an analysis: it also reads what runs in a
// Kubernetes cluster, judges what the status of documents says, and leaves out what
// annotations say is to be.
func NewAnalysisDecoder() *document.Decoder {
	return newDecoder(append(kube.FrontEnds(istio.Convert), kube.ClusterFrontEnds()...)).ForAnalysis()
}

func newDecoder(fronts []document.FrontEnd) *document.Decoder {
	fronts = append(fronts, istio.FrontEnds()...)
	fronts = append(fronts, gatewayapi.FrontEnds()...)
	fronts = append(fronts, weft.FrontEnds()...)
	fronts = append(fronts, aeraki.FrontEnds()...)
	fronts = append(fronts, slime.FrontEnds()...)
	fronts = append(fronts, slimemodules.FrontEnds()...)
	mesh := istio.FileFrontEnd()
	return document.NewDecoder(fronts, map[string]*document.FrontEnd{
		"mesh.yaml": mesh, "mesh.yml": mesh, "meshconfig.yaml": mesh, "mesh-config.yaml": mesh,
	})
}

// Decode reads the documents of a text as the source would. file is how
// Findings call it; its folder is where a Process is at home.
func Decode(data []byte, file string) ([]model.Object, []model.Finding) {
	var objects []model.Object
	var findings []model.Finding
	for _, r := range NewDecoder().Decode(data, input(file)) {
		findings = append(findings, r.Findings...)
		for _, o := range r.Objects {
			if _, mark := o.(*weft.Tombstone); !mark {
				objects = append(objects, o)
			}
		}
	}
	return objects, findings
}

func input(file string) document.Input {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		dir = filepath.Dir(file)
	}
	return document.Input{Source: Name, File: file, Dir: dir}
}

// Name implements source.Source.
func (s *Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	for _, p := range s.opts.Paths {
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("source/file: %w (check the path)", err)
		}
	}
	return fswatch.Run(ctx, s.opts.Log, func(n fswatch.Notice) (fswatch.Look, error) {
		seen := s.look(n)
		look := fswatch.Look{Dirs: seen.dirs, Again: seen.again, Left: seen.left, Found: len(seen.changed) > 0}
		d, changed := s.assemble(seen)
		if !changed {
			return look, nil
		}
		return look, source.Send(ctx, out, d)
	})
}
