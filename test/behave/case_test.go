package behave

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

// scenario is one case: what is written, and what comes of it.
type scenario struct {
	name, about string
	config      string         // documents of config.yaml
	mesh        map[string]any // keys of MeshConfig on top of the base's
	expect      expectation
	steps       []step
	// later takes its place once steps have been right, while all runs; nil: nothing does.
	later *scenario
}

// expectation is what else is to be said of a case, in case.yaml.
type expectation struct {
	// Findings are the codes of errors that the configuration has on purpose, and of what else
	// has to be said of it.
	Findings []string `json:"findings"`
}

// step is a request, as often as it is made, and its outcome. What is not written is
// not checked; without status and error the status is 200.
type step struct {
	Ask  string `json:"ask"`  // METHOD URL
	Note string `json:"note"` // what the documentation says
	// From is who asks: client (all four), other, outside; "": client.
	From string `json:"from"`
	// Via "gateway" connects to the world's gateway; from is outside then.
	Via     string            `json:"via"`
	Headers map[string]string `json:"headers"`
	Host    string            `json:"host"`
	Body    string            `json:"body"`
	Size    int               `json:"size"`
	HTTP    string            `json:"http"`
	Times   int               `json:"times"`
	// Parallel requests at once; Fresh: a connection for each.
	Parallel int  `json:"parallel"`
	Fresh    bool `json:"fresh"`
	// Token has these claims. It goes where ${TOKEN} is written, else into Authorization.
	Token map[string]any `json:"token"`
	// Trust: the server's certificate is checked. Cert: the client shows its own.
	Trust, Cert bool
	// As is the certificate that the client shows in place of its own: partner, forged.
	As  string
	SNI string `json:"sni"`
	TLS string `json:"tls"` // the version: 1.2 or 1.3
	// Proxy is a line of the PROXY protocol that goes ahead.
	Proxy string `json:"proxy"`
	// Only "eager" or "on-demand": of clients in that mode alone; "go" or "envoy": of that engine.
	Only string `json:"only"`

	Status  shares `json:"status"`
	Version shares `json:"version"`
	Name    shares `json:"name"`
	// Fewer are versions that at most that percentage of answers are from.
	Fewer  map[string]float64 `json:"fewer"`
	Sent   map[string]*string `json:"sent"` // headers that the server sees
	Got    map[string]*string `json:"got"`  // headers of the response
	Path   string             `json:"path"`
	Seen   string             `json:"seen"` // the host that the server sees
	Method string             `json:"method"`
	Proto  string             `json:"proto"` // that the server sees
	Port   int                `json:"port"`
	Answer string             `json:"answer"` // part of the body
	Error  bool               `json:"error"`
	Least  duration           `json:"least"`
	Most   duration           `json:"most"`
	GRPC   string             `json:"grpc"`
	SAN    string             `json:"san"`    // a name in the server's certificate
	Client string             `json:"client"` // a name in the certificate that the program sees
	// Same: all answers are from one instance.
	Same bool `json:"same"`
	// Mirrored are shares of requests that arrive as copies, by who gets them: v1, v2, other, outside.
	Mirrored map[string]float64 `json:"mirrored"`
	// Tries is how often the servers are asked in all.
	Tries *int `json:"tries"`
	// Log are patterns of the access log's line, by proxy: client, v1, v2, other, gateway.
	// "!": there is none.
	Log     map[string]string `json:"log"`
	Metrics []metric          `json:"metrics"`
	// Span are tags of a span, by any proxy.
	Span map[string]string `json:"span"`
	// Collected are entries that the collector has: parts of each.
	Collected [][]string `json:"collected"`
}

// metric is a counter that grows by at least More.
type metric struct {
	Of     string            `json:"of"` // client, v1, v2, other, gateway
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	More   float64           `json:"more"`
	// Absent: no such series.
	Absent bool `json:"absent"`
}

// shares are percentages by value; one value alone has 100.
type shares map[string]float64

func (s *shares) UnmarshalJSON(b []byte) error {
	*s = shares{}
	if bytes.HasPrefix(b, []byte("{")) {
		return json.Unmarshal(b, (*map[string]float64)(s))
	}
	(*s)[strings.Trim(string(b), `"`)] = 100
	return nil
}

type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	v, err := time.ParseDuration(strings.Trim(string(b), `"`))
	*d = duration(v)
	return err
}

// read reads all cases of a folder, in the order of their names.
func read(dir string) ([]*scenario, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	var out []*scenario
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		c, err := parse(strings.TrimSuffix(filepath.Base(f), ".txtar"), raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// parse reads one case.
func parse(name string, raw []byte) (*scenario, error) {
	a := txtar.Parse(raw)
	c := &scenario{name: name, about: strings.TrimSpace(string(a.Comment))}
	if c.about == "" {
		return nil, fmt.Errorf("says not what it is about")
	}
	if i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "later/config.yaml" }); i >= 0 {
		rest := a.Files[i:]
		a.Files = a.Files[:i]
		c.later = &scenario{name: name + "-later"}
		if err := c.later.read(rest, "later/"); err != nil {
			return nil, err
		}
	}
	return c, c.read(a.Files, "")
}

// read reads the files of a case, or of its later part.
func (c *scenario) read(files []txtar.File, prefix string) error {
	for _, f := range files {
		var err error
		switch strings.TrimPrefix(f.Name, prefix) {
		case "config.yaml":
			c.config = string(f.Data)
		case "mesh.yaml":
			err = yaml.UnmarshalStrict(f.Data, &c.mesh)
		case "case.yaml":
			err = yaml.UnmarshalStrict(f.Data, &c.expect)
		case "requests.yaml":
			err = yaml.UnmarshalStrict(f.Data, &c.steps)
		default:
			err = fmt.Errorf("is not known: config.yaml, mesh.yaml, case.yaml, requests.yaml")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if len(c.steps) == 0 {
		return fmt.Errorf("makes no request")
	}
	for i, s := range c.steps {
		if err := s.check(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

var askForm = regexp.MustCompile(`^(GET|POST|PUT|DELETE|HEAD|PATCH|OPTIONS|GRPC|TCP|TLS|UDP) \S+$`)

// check finds what cannot be meant.
func (s *step) check() error {
	switch {
	case !askForm.MatchString(s.Ask):
		return fmt.Errorf("ask %q: want METHOD URL", s.Ask)
	case !slices.Contains([]string{"", "client", "other", "outside"}, s.From):
		return fmt.Errorf("from %q: want client, other or outside", s.From)
	case s.Via != "" && s.Via != "gateway":
		return fmt.Errorf("via %q: want gateway", s.Via)
	case s.TLS != "" && versions[s.TLS] == 0:
		return fmt.Errorf("tls %q: want 1.2 or 1.3", s.TLS)
	case s.Via != "" && s.From != "":
		return fmt.Errorf("via and from: a gateway is asked from outside")
	}
	for _, list := range []shares{s.Status, s.Version, s.Name} {
		sum := 0.0
		for _, p := range list {
			sum += p
		}
		if list != nil && sum != 100 {
			return fmt.Errorf("shares %v come to %v", list, sum)
		}
	}
	return nil
}

// fill puts values in place of ${NAME}.
func fill(text string, values map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		text = strings.ReplaceAll(text, "${"+k+"}", values[k])
	}
	return text
}

// clusterWide are kinds without a namespace.
var clusterWide = []string{"GatewayClass", "IngressClass", "Namespace"}

var separator = regexp.MustCompile(`(?m)^---.*$`)

// documents are those of a text as they are for one world: in its namespace where they
// name none, and for its gateway alone.
func documents(text string, w *world) (out []map[string]any, err error) {
	for _, part := range separator.Split(fill(text, w.values), -1) {
		var doc map[string]any
		if err := yaml.UnmarshalStrict([]byte(part), &doc); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, part)
		}
		if doc == nil {
			continue
		}
		meta, _ := doc["metadata"].(map[string]any)
		if meta == nil {
			return nil, fmt.Errorf("no metadata in\n%s", part)
		}
		kind, _ := doc["kind"].(string)
		if meta["namespace"] == nil && !slices.Contains(clusterWide, kind) {
			meta["namespace"] = w.ns
		}
		if spec, _ := doc["spec"].(map[string]any); kind == "Gateway" && spec != nil {
			if sel, _ := spec["selector"].(map[string]any); sel != nil {
				sel["world"] = w.ns
			}
		}
		out = append(out, doc)
	}
	return out, nil
}

// join makes one text of documents, each once.
func join(docs []map[string]any) (string, error) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, d := range docs {
		raw, err := yaml.Marshal(d)
		if err != nil {
			return "", err
		}
		if !seen[string(raw)] {
			seen[string(raw)] = true
			b.WriteString("---\n")
			b.Write(raw)
		}
	}
	return b.String(), nil
}
