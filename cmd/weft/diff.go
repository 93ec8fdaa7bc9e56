package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/compare"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/source/file"
)

// Exit codes of `weft diff`, those of diff(1).
const (
	diffSome  = 1
	diffError = 2
)

// diffFlags are those of `weft diff`.
type diffFlags struct {
	fileFlags
	live    *cli.Live
	against []string
	remove  []string
	whole   bool
	out     string
	// refused is what compare has told on standard error.
	refused []model.Finding
}

func diffCommand(env *cli.Env) *cobra.Command {
	var d diffFlags
	c := &cobra.Command{
		Use:   "diff -f NEW [--against OLD]",
		Short: "Show what an edit would change, and on which proxies, before it is applied",
		Long: `Diff lays NEW over what a running mesh has, as weft apply would, and shows what each proxy would
get otherwise: which resources are new, gone or changed, and in which fields. With --against it
compares with files instead, and needs no mesh.

With --whole, NEW is all that is written: what it does not have is gone. The exit code is 0 when
no proxy gets anything else, 1 when some do, and 2 when there is an error, such as an object that
would be refused.`,
		Example: `  weft diff -f split.yaml
  weft diff -f split.yaml --against examples/bookstore
  weft diff -f new/ --against old/ --whole -o json
  weft diff --delete virtualservice/default/reviews`,
		Args: cli.FilesByFlag,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c) },
	}
	d.add(c, "what is new")
	d.live = env.LiveFlags(c)
	f := c.Flags()
	f.StringArrayVar(&d.against, "against", nil, "compare with these files or folders instead of a running mesh (may be repeated)")
	f.StringArrayVar(&d.remove, "delete", nil, "what is removed: kind/namespace/name, or kind/name in the namespace default (may be repeated)")
	f.BoolVar(&d.whole, "whole", false, "NEW is all that is written")
	f.StringVarP(&d.out, "output", "o", "text", "output: "+strings.Join(outputs, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// run gives every error the exit code that diff(1) has for one.
func (d *diffFlags) run(c *cobra.Command) error {
	r, err := d.compare(c)
	if err == nil || errors.Is(err, errRefused) {
		if werr := d.write(c, r); werr != nil {
			err = werr
		}
	}
	switch {
	case err != nil:
		return &cli.Error{Code: diffError, Err: err}
	case !r.Empty():
		return &cli.Error{Code: diffSome, Err: errSaid}
	}
	return nil
}

func (d *diffFlags) write(c *cobra.Command, r *compare.Result) error {
	if d.out != "text" {
		return encode(c, d.out, r)
	}
	shown := *r
	shown.New = slices.DeleteFunc(slices.Clone(r.New), func(f model.Finding) bool { return slices.Contains(d.refused, f) })
	xdstext.Diff(c.OutOrStdout(), &shown)
	return nil
}

// compare returns errRefused together with a result when some of what is new would
// be refused.
func (d *diffFlags) compare(c *cobra.Command) (*compare.Result, error) {
	if !slices.Contains(outputs, d.out) {
		return nil, fmt.Errorf("-o %s: want %s", d.out, strings.Join(outputs, ", "))
	}
	if len(d.Paths)+len(d.remove) == 0 {
		return nil, errors.New("diff needs -f: a file, a folder, or - for standard input; or --delete")
	}
	if len(d.against) > 0 && d.live.Chosen() {
		return nil, errors.New("--against is for files, --mesh and --console for what runs: use one")
	}
	edit, err := d.edit(c)
	if err != nil {
		return nil, err
	}
	old, err := d.old(c)
	if err != nil {
		return nil, err
	}
	now, err := old.With(edit)
	if err != nil {
		return nil, err
	}
	if !d.whole {
		d.hint(c, old, edit)
	}
	r, err := compare.Meshes(old, now)
	if err != nil {
		return nil, err
	}
	// What is refused is told where errors are; the rest of the findings is a part
	// of what is different.
	d.refused = slices.DeleteFunc(slices.Clone(edit.Files.Findings), func(f model.Finding) bool { return f.Severity < model.Error })
	return r, tell(c.ErrOrStderr(), d.refused)
}

// edit reads what is new.
func (d *diffFlags) edit(c *cobra.Command) (e offline.Edit, err error) {
	e.Whole = d.whole
	if len(d.Paths) > 0 {
		if e.Files, err = file.Read(d.Paths, c.InOrStdin()); err != nil {
			return e, err
		}
	}
	for _, s := range d.remove {
		k, err := parseKey(s)
		if err != nil {
			return e, fmt.Errorf("--delete: %w", err)
		}
		e.Delete = append(e.Delete, k)
	}
	return e, nil
}

// parseKey reads "kind/namespace/name" or "kind/name".
func parseKey(s string) (k model.Key, err error) {
	parts := strings.Split(s, "/")
	if len(parts) != 2 && len(parts) != 3 || slices.Contains(parts, "") {
		return k, fmt.Errorf("%q: want kind/namespace/name or kind/name", s)
	}
	if k.Kind, err = cli.ParseKind(parts[0]); err != nil {
		return k, err
	}
	k.Namespace, k.Name = "default", parts[len(parts)-1]
	if len(parts) == 3 {
		k.Namespace = parts[1]
	}
	if k.Kind == model.KindNamespace {
		k.Namespace = ""
	}
	return k, nil
}

// old is the mesh that is edited.
func (d *diffFlags) old(c *cobra.Command) (*offline.Mesh, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	if len(d.against) > 0 {
		o := d.Options
		o.Paths = d.against
		return offline.Load(o)
	}
	st, err := d.live.State(c.Context())
	if err != nil {
		return nil, err
	}
	return meshOf(st), nil
}

// hint says that what only the old folder has stays: who compares two folders may
// not expect that.
func (d *diffFlags) hint(c *cobra.Command, old *offline.Mesh, e offline.Edit) {
	folder := slices.ContainsFunc(d.Paths, func(p string) bool {
		info, err := os.Stat(p)
		return err == nil && info.IsDir()
	})
	if !folder {
		return
	}
	named := map[model.Key]bool{}
	for _, o := range e.Files.Upserts {
		named[o.Head().Key] = true
	}
	n := 0
	for k, o := range old.Snapshot.Objects.All {
		if !named[k] && o.Head().Origin.Source == e.Files.Source {
			n++
		}
	}
	if n > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "note: %d objects are not in what is new, and stay: --whole takes them for removed\n", n)
	}
}
