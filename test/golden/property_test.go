package golden

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
)

// oracleCorpus are the configurations that istiod is given as well, whose outcome is
// compared with istiod's there. Here they are input of what holds for every
// configuration.
const oracleCorpus = "../peers/istiod/oracle/testdata/corpus/*.txtar"

// corpus is every configuration: the cases and those of the oracle.
func corpus(t *testing.T) []*oneCase {
	t.Helper()
	var out []*oneCase
	for _, f := range caseFiles(t) {
		out = append(out, f.cases...)
	}
	more, err := readOracle()
	if err != nil {
		t.Fatal(err)
	}
	return append(out, more...)
}

var readOracle = sync.OnceValues(func() ([]*oneCase, error) {
	common, err := os.ReadFile(commonBase)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(oracleCorpus)
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no corpus: %w", err)
	}
	file := &caseFile{path: "oracle.txtar"}
	for _, p := range paths {
		text, err := txtar.ParseFile(p)
		if err != nil {
			return nil, err
		}
		c := &oneCase{file: file, name: strings.TrimSuffix(filepath.Base(p), ".txtar"), proxies: commonProxies()}
		c.inputs = append([]txtar.File{{Name: "base.yaml", Data: common}}, slices.DeleteFunc(text.Files, func(f txtar.File) bool {
			return !strings.HasSuffix(f.Name, ".yaml")
		})...)
		file.cases = append(file.cases, c)
	}
	return file.cases, nil
})

// eachCase runs a check for each configuration.
func eachCase(t *testing.T, check func(t *testing.T, c *oneCase)) {
	t.Helper()
	for _, c := range corpus(t) {
		t.Run(c.file.name()+"/"+c.name, func(t *testing.T) { check(t, c) })
	}
}

// everywhere runs a check for each configuration and each of its proxies.
func everywhere(t *testing.T, check func(t *testing.T, c *oneCase, proxy string)) {
	t.Helper()
	eachCase(t, func(t *testing.T, c *oneCase) {
		for _, p := range sortedKeys(c.proxies) {
			check(t, c, p)
		}
	})
}

// TestCasesValid: every message holds by the rules that Envoy's API has for its fields.
func TestCasesValid(t *testing.T) {
	seen := map[string]bool{}
	everywhere(t, func(t *testing.T, c *oneCase, proxy string) {
		r, _ := c.translate(t, proxy)
		for _, ty := range types {
			for _, x := range r.Of(ty.url) {
				if x.Body == nil || seen[ty.short+string(x.Body.Value)] {
					continue
				}
				seen[ty.short+string(x.Body.Value)] = true
				if err := valid(x.Body); err != nil {
					t.Errorf("%s: %s %s: %v", proxy, ty.short, x.Name, err)
				}
			}
		}
	})
}

// valid validates a message, and all that it holds packed.
func valid(packed *anypb.Any) error {
	m, err := packed.UnmarshalNew()
	if err != nil {
		return err
	}
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	return validBelow(m.ProtoReflect())
}

func validBelow(m protoreflect.Message) (err error) {
	one := func(x protoreflect.Message) bool {
		if a, ok := x.Interface().(*anypb.Any); ok {
			err = valid(a)
		} else {
			err = validBelow(x)
		}
		return err == nil
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { return one(v.Message()) })
		case fd.IsList() && fd.Message() != nil:
			for i := 0; i < v.List().Len() && one(v.List().Get(i).Message()); i++ {
			}
		case fd.Message() != nil && !fd.IsMap() && !fd.IsList():
			one(v.Message())
		}
		return err == nil
	})
	return err
}

// unsupported are cases whose output our own proxy refuses, as EnvoyFilters may bring about:
// the control plane keeps such a patch back then (control/source/quarantine).
var unsupported = map[string]string{
	"envoyfilter/http-filter-add": "the router has to be the last filter",
}

// TestCasesAccepted: the data plane's strict reader takes all of it. Certificates that are
// named as files are not there.
func TestCasesAccepted(t *testing.T) {
	seen := map[string]bool{}
	everywhere(t, func(t *testing.T, c *oneCase, proxy string) {
		if unsupported[c.file.name()+"/"+c.name] != "" {
			return
		}
		r, _ := c.translate(t, proxy)
		fresh := &translate.Resources{ByType: map[string][]*resource.Resource{}}
		for url, list := range r.ByType {
			for _, x := range list {
				if x.Body != nil && !seen[url+string(x.Body.Value)] {
					seen[url+string(x.Body.Value)] = true
					fresh.ByType[url] = append(fresh.ByType[url], x)
				}
			}
		}
		for _, r := range refusals(t, fresh) {
			if !errors.Is(r.Err, fs.ErrNotExist) {
				t.Errorf("%s: %s: %v", proxy, r.Name, r.Err)
			}
		}
	})
}

// TestCasesDeterministic: the order in which objects are read makes no difference to a
// byte, nor does a second run.
func TestCasesDeterministic(t *testing.T) {
	eachCase(t, shuffled)
}

// shuffled compares what comes of the objects in another order.
func shuffled(t *testing.T, c *oneCase) {
	t.Helper()
	c.snapshot()
	if twice(c.objects) {
		return // of two objects of one name the first counts
	}
	objects := slices.Clone(c.objects)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	c.sameWith(t, merged(c.dual(), objects, c.findings))
}

// sameWith compares what every proxy of a case gets with what comes of another snapshot.
func (c *oneCase) sameWith(t *testing.T, s *model.Snapshot) {
	t.Helper()
	index := scope.NewIndex(s)
	for _, proxy := range sortedKeys(c.proxies) {
		want, _ := c.translate(t, proxy)
		got, _ := translate.Translate(scope.Build(index, c.proxy(t, proxy)))
		same(t, proxy, want, got)
	}
}

func twice(objects []model.Object) bool {
	seen := map[model.Key]bool{}
	for _, o := range objects {
		if seen[o.Head().Key] {
			return true
		}
		seen[o.Head().Key] = true
	}
	return false
}

// same compares bytes.
func same(t *testing.T, proxy string, want, got *translate.Resources) {
	t.Helper()
	for _, ty := range types {
		a, b := want.Of(ty.url), got.Of(ty.url)
		if len(a) != len(b) {
			t.Errorf("%s: %d resources of %s became %d", proxy, len(a), ty.short, len(b))
			continue
		}
		for i := range a {
			if a[i].Name != b[i].Name || a[i].Version != b[i].Version || (a[i].Body != nil) != (b[i].Body != nil) ||
				a[i].Body != nil && !bytes.Equal(a[i].Body.Value, b[i].Body.Value) {
				t.Errorf("%s: %s %s became another", proxy, ty.short, a[i].Name)
			}
		}
	}
}

// badObjects have a fault each, and stand beside everybody's; of a name that comes first.
const badObjects = "testdata/bad.yaml"

// TestBadObjectsAreAlone: what is wrong with an object is nobody else's affair.
func TestBadObjectsAreAlone(t *testing.T) {
	raw, err := os.ReadFile(badObjects)
	if err != nil {
		t.Fatal(err)
	}
	bad := txtar.File{Name: "bad.yaml", Data: raw}
	documents := bytes.Count(raw, []byte("\n---\n")) + 1
	others, faults := decode([]txtar.File{bad})
	if len(faults) < documents {
		t.Fatalf("%d documents have only %d faults", documents, len(faults))
	}
	eachCase(t, func(t *testing.T, c *oneCase) {
		c.snapshot()
		c.sameWith(t, merged(c.dual(), slices.Concat(others, c.objects), slices.Concat(faults, c.findings)))
	})
}

// equalProto tells whether messages say the same, and how not.
func equalProto(a, b proto.Message) error {
	if proto.Equal(a, b) {
		return nil
	}
	return fmt.Errorf("eager: %v\non demand: %v", a, b)
}
