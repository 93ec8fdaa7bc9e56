package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// print writes v as JSON or YAML, or what table makes of it: a table without rows says so
// on standard error.
func (e *Env) print(c *cobra.Command, v any, table func() *Table) error {
	out := c.OutOrStdout()
	switch e.output {
	case "", "table":
		t := table()
		if len(t.rows) == 0 {
			out = c.ErrOrStderr()
		}
		t.Write(out, Colour(out))
		return nil
	case "json":
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		raw, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		_, err = out.Write(raw)
		return err
	}
	return fail(CodeUsage, "-o %s: want table, json or yaml", e.output)
}

// Colour tells whether escape sequences are welcome: a terminal, and neither
// NO_COLOR (no-color.org) nor TERM=dumb.
func Colour(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminal(w)
}

// terminal tells whether a person reads what is written.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Style of a cell.
type Style string

// Styles.
const (
	Plain  Style = ""
	Good   Style = "\x1b[32m"
	Warn   Style = "\x1b[33m"
	Bad    Style = "\x1b[31m"
	Strong Style = "\x1b[1m"
	Faint  Style = "\x1b[2m"
)

const reset = "\x1b[0m"

// Paint wraps s in the style when colour is on.
func (st Style) Paint(s string, colour bool) string {
	if !colour || st == Plain || s == "" {
		return s
	}
	return string(st) + s + reset
}

// Cell is one cell of a Table.
type Cell struct {
	Text  string
	Style Style
}

// Table is aligned text.
type Table struct {
	Head []string
	rows [][]Cell
	// Empty is printed instead of a table without rows.
	Empty string
}

// Row adds a row of strings and Cells; other values are formatted.
func (t *Table) Row(cells ...any) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case Cell:
			row[i] = c
		case string:
			row[i] = Cell{Text: c}
		default:
			row[i] = Cell{Text: fmt.Sprint(c)}
		}
		if row[i].Text == "" {
			row[i].Text = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// Write prints the table.
func (t *Table) Write(w io.Writer, colour bool) {
	if len(t.rows) == 0 {
		if t.Empty != "" {
			fmt.Fprintln(w, t.Empty)
		}
		return
	}
	width := make([]int, len(t.Head))
	for i, h := range t.Head {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c.Text))
		}
	}
	head := make([]Cell, len(t.Head))
	for i, h := range t.Head {
		head[i] = Cell{h, Strong}
	}
	for _, row := range append([][]Cell{head}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(c.Style.Paint(c.Text, colour))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.Text)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
