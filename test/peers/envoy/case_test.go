package envoy

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

// caseFile is one archive under testdata. How it is written is in README.md.
type caseFile struct {
	name string // "routing/prefix"
	id   string // what its listener and clusters are named after
	says string

	clients   []script
	upstreams []script
	config    map[string]any // sections of configuration, by name
	stats     []*regexp.Regexp
}

// script is what one client or one upstream does.
type script struct {
	name  string
	opt   map[string]string // the directives of the first lines
	steps []step
}

// step is a line of a script.
type step struct {
	line   int
	verb   string
	args   []string
	text   string   // what is written, escapes resolved
	fields []string // indented lines below it
}

// yamlSections are sections that hold configuration.
var yamlSections = []string{"routes", "vhost", "vhosts", "route-config", "filters", "hcm", "network", "chain", "chains", "listener", "cluster", "clusters", "udp", "runtime", "bootstrap"}

func loadCases(t *testing.T) []*caseFile {
	t.Helper()
	var out []*caseFile
	err := filepath.WalkDir("testdata", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".txtar" {
			return err
		}
		c, err := loadCase(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func loadCase(path string) (*caseFile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel("testdata", path)
	if err != nil {
		return nil, err
	}
	a := txtar.Parse(raw)
	c := &caseFile{name: strings.TrimSuffix(filepath.ToSlash(rel), ".txtar"), says: strings.TrimSpace(string(a.Comment)), config: map[string]any{}}
	c.id = strings.NewReplacer("/", ".").Replace(c.name)
	if c.says == "" {
		return nil, fmt.Errorf("says nothing about itself before its first section")
	}
	for _, f := range a.Files {
		if err := c.section(f.Name, string(f.Data)); err != nil {
			return nil, fmt.Errorf("section %q: %w", f.Name, err)
		}
	}
	if len(c.clients) == 0 {
		return nil, fmt.Errorf("has no client")
	}
	if !hasScript(c.upstreams, "up") {
		c.upstreams = append(c.upstreams, script{name: "up", opt: map[string]string{}})
	}
	return c, nil
}

func hasScript(list []script, name string) bool {
	for _, s := range list {
		if s.name == name {
			return true
		}
	}
	return false
}

func (c *caseFile) section(title, text string) error {
	kind, name, _ := strings.Cut(title, " ")
	switch kind {
	case "client":
		s, err := parseScript(name, text)
		c.clients = append(c.clients, s)
		return err
	case "upstream":
		if name == "" {
			name = "up"
		}
		s, err := parseScript(name, text)
		c.upstreams = append(c.upstreams, s)
		return err
	}
	if kind == "stats" {
		for line := range strings.Lines(c.expand(text)) {
			re, err := regexp.Compile("^(?:" + strings.TrimSpace(line) + ")$")
			if err != nil {
				return err
			}
			c.stats = append(c.stats, re)
		}
		return nil
	}
	for _, y := range yamlSections {
		if y != kind {
			continue
		}
		var v any
		if err := yaml.UnmarshalStrict([]byte(c.expand(text)), &v); err != nil {
			return err
		}
		c.config[title] = v
		return nil
	}
	return fmt.Errorf("there is no such section")
}

var variable = regexp.MustCompile(`\$[a-z][a-z0-9-]*`)

// expand replaces $file:NAME by the path of a certificate, $upstream-host and
// $upstream-port-NAME by where upstreams are, and any other $NAME
// by the name of this case's own cluster.
func (c *caseFile) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if f := certFile(v[1:]); f != "" {
			return f
		}
		if v == "$upstream-host" {
			return "~upstream ~"
		}
		if name, ok := strings.CutPrefix(v, "$upstream-port-"); ok {
			return "~upstream " + c.cluster(name) + "~"
		}
		return c.cluster(v[1:])
	})
}

// cluster is the name of the cluster that leads to an upstream.
func (c *caseFile) cluster(upstream string) string { return c.id + "." + upstream }

// parseScript reads lines. "> text" writes a line that ends with CRLF, ">> text"
// writes as it is; "<" and "<<" are the same for upstreams.
func parseScript(name, text string) (script, error) {
	s := script{name: name, opt: map[string]string{}}
	for i, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "  "); ok && len(s.steps) > 0 {
			f, err := unescape(rest)
			if err != nil {
				return s, fmt.Errorf("line %d: %w", i+1, err)
			}
			last := &s.steps[len(s.steps)-1]
			last.fields = append(last.fields, f)
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		st := step{line: i + 1, verb: verb, args: strings.Fields(rest)}
		var err error
		if st.text, err = unescape(rest); err != nil {
			return s, fmt.Errorf("line %d: %w", i+1, err)
		}
		switch verb {
		case ">", "<":
			st.verb, st.text = "write", st.text+"\r\n"
		case ">>", "<<":
			st.verb = "write"
		case "option":
			k, v, _ := strings.Cut(rest, "=")
			s.opt[k] = v
			continue
		}
		if n := len(s.steps); st.verb == "write" && n > 0 && s.steps[n-1].verb == "write" && s.opt["udp"] == "" {
			s.steps[n-1].text += st.text
			continue
		}
		s.steps = append(s.steps, st)
	}
	return s, nil
}

var repeat = regexp.MustCompile(`\\\{(\d+)\*([^}]+)\}`)

// unescape resolves \r \n \t \0 \s \xHH \\, and \{N*TEXT}, which repeats.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	s = repeat.ReplaceAllStringFunc(s, func(m string) string {
		p := repeat.FindStringSubmatch(m)
		n, _ := strconv.Atoi(p[1])
		return strings.Repeat(p[2], n)
	})
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf(`%q ends with \`, s)
		}
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case 's':
			b.WriteByte(' ')
		case '\\':
			b.WriteByte('\\')
		case 'x':
			if i+2 >= len(s) {
				return "", fmt.Errorf(`%q: \x needs two digits`, s)
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", err
			}
			b.WriteByte(byte(v))
			i += 2
		default:
			return "", fmt.Errorf(`%q: unknown escape \%c`, s, s[i])
		}
	}
	return b.String(), nil
}
