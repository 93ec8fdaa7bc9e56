package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a store over a mesh that has what is in there, with a folder of the user's.
type kit struct {
	*Store
	t            *testing.T
	folder, dir  string
	there        map[model.Key]model.Object
	deltas       chan model.Delta
	sourceEnded  chan error
	cancelSource context.CancelFunc
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{t: t, folder: t.TempDir(), dir: filepath.Join(t.TempDir(), "applied"), there: map[model.Key]model.Object{}}
	k.Store = New(k.dir, file.NewDecoder(), func(key model.Key) model.Object { return k.there[key] })
	return k
}

// write puts a file into the user's folder, and its objects into the mesh.
func (k *kit) write(name, text string) string {
	k.t.Helper()
	path := filepath.Join(k.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	objects, _ := file.Decode([]byte(text), path)
	for _, o := range objects {
		k.there[o.Head().Key] = o
	}
	return path
}

func (k *kit) stored() []string {
	entries, err := os.ReadDir(k.dir)
	if err != nil && !os.IsNotExist(err) {
		k.t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func account(name string) string {
	return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
}

func accountKey(name string) model.Key {
	return model.Key{Kind: model.KindServiceAccount, Namespace: "default", Name: name}
}

// results is "Kind/namespace/name result" for each.
func results(list []console.Applied) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.Object.String()+" "+a.Result)
	}
	return out
}

func TestApply(t *testing.T) {
	const mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: \"accessLogFile: /dev/stdout\"}\n"
	for _, tc := range []struct {
		name, text  string
		want, files []string
	}{
		{"nothing", "# only a comment\n", []string{}, []string{}},
		{"new", account("new"), []string{"ServiceAccount/default/new created"}, []string{"serviceaccount_default_new.yaml"}},
		{"there with other content", "# other\n---\n" + strings.Replace(account("old"), "{", "{labels: {a: b}, ", 1),
			[]string{"ServiceAccount/default/old configured"}, []string{"serviceaccount_default_old.yaml"}},
		{"as it stands in the folder", account("old"), []string{"ServiceAccount/default/old unchanged"}, []string{}},
		{"a bad one among good ones", account("a") + "---\napiVersion: v1\nkind: Servise\nmetadata: {name: x}\n---\n" + account("b"),
			[]string{"ServiceAccount/default/a created", "Servise/x invalid", "ServiceAccount/default/b created"},
			[]string{"serviceaccount_default_a.yaml", "serviceaccount_default_b.yaml"}},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n",
			[]string{"ServiceAccount/default/a created", "Namespace/b created"}, []string{"namespace__b.yaml", "serviceaccount_default_a.yaml"}},
		{"what is for Kubernetes alone", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: n}\n", []string{"Deployment/n/d ignored"}, []string{}},
		{"the mesh's own", mesh, []string{"ConfigMap/istio-system/istio created"}, []string{"configmap_istio-system_istio.yaml"}},
		{"no text", "\x00\x01\x02", []string{"/ invalid"}, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKit(t)
			k.write("old.yaml", account("old"))
			got := k.Apply([]byte(tc.text), "standard input")
			if d := cmp.Diff(tc.want, results(got)); d != "" {
				t.Errorf("results, -want +got:\n%s", d)
			}
			if d := cmp.Diff(tc.files, k.stored()); d != "" {
				t.Errorf("files, -want +got:\n%s", d)
			}
			for _, a := range got {
				if bad := a.Result == "invalid"; bad != (len(a.Findings) > 0 && a.Findings[0].Severity == model.Error) {
					t.Errorf("%s is %s with findings %v", a.Object, a.Result, a.Findings)
				}
				for _, f := range a.Findings {
					if !strings.HasPrefix(f.String(), "standard input:") {
						t.Errorf("finding %q does not name where it was read", f)
					}
				}
			}
			// A second time nothing changes.
			for _, a := range k.Apply([]byte(tc.text), "standard input") {
				if a.Result == "created" || a.Result == "configured" {
					t.Errorf("again: %s %s", a.Object, a.Result)
				}
			}
		})
	}
}

func TestMessagesNameTheUsersFile(t *testing.T) {
	k := newKit(t)
	k.Apply([]byte("\n\n"+account("a")), "/somewhere/f.yaml")
	raw, err := os.ReadFile(filepath.Join(k.dir, "serviceaccount_default_a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := file.Decode(raw, filepath.Join(k.dir, "x.yaml"))
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("stored: %v %v", objects, findings)
	}
	if o := objects[0].Head().Origin.String(); o != "/somewhere/f.yaml:3" {
		t.Errorf("the object's origin is %s, want /somewhere/f.yaml:3", o)
	}
}

func TestRemove(t *testing.T) {
	k := newKit(t)
	k.write("old.yaml", account("old"))
	got := k.Remove([]byte(account("old")+"---\n"+account("ghost")+"---\n- 1\n"), "f.yaml")
	want := []string{"ServiceAccount/default/old deleted", "ServiceAccount/default/ghost not found", "/ invalid"}
	if d := cmp.Diff(want, results(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(got[2].Findings) == 0 {
		t.Error("what is no object is not explained")
	}
}

func TestRaw(t *testing.T) {
	k := newKit(t)
	path := k.write("f.yaml", "# two\n"+account("a")+"---\n# the second\n"+account("b"))
	for name, want := range map[string]string{"a": account("a"), "b": account("b")} {
		raw, err := k.Raw(accountKey(name), k.there[accountKey(name)].Head().Origin)
		if err != nil || string(raw) != strings.TrimSpace(want) {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	// What was applied is what is in force.
	applied := strings.Replace(account("b"), "{", "{labels: {x: y}, ", 1)
	k.Apply([]byte(applied), "-")
	if raw, err := k.Raw(accountKey("b"), model.Origin{File: path}); err != nil || string(raw) != strings.TrimSpace(applied) {
		t.Errorf("applied: %q %v", raw, err)
	}
	for _, tc := range []struct {
		name   string
		key    model.Key
		origin model.Origin
		says   string
	}{
		{"nobody wrote it", model.Key{Kind: model.KindWorkload, Name: "w"}, model.Origin{Source: "process"}, ""},
		{"no longer in the file", accountKey("c"), model.Origin{File: path}, "no longer holds"},
		{"the file is gone", accountKey("a"), model.Origin{File: path + ".gone"}, "has been removed"},
		{"the file is a folder", accountKey("a"), model.Origin{File: k.folder}, "as written"},
	} {
		raw, err := k.Raw(tc.key, tc.origin)
		if raw != nil || (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %q %v", tc.name, raw, err)
		}
	}
}

// A MeshConfig is written as a ConfigMap.
func TestRawOfTheMesh(t *testing.T) {
	k := newKit(t)
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: \"{}\"}"
	path := k.write("mesh.yaml", text)
	key := model.Key{Kind: model.KindMeshConfig, Namespace: "istio-system", Name: "istio"}
	if raw, err := k.Raw(key, model.Origin{File: path}); err != nil || string(raw) != text {
		t.Errorf("from the folder: %q %v", raw, err)
	}
	changed := strings.Replace(text, "{}", "{trustDomain: td}", 1)
	k.Apply([]byte(changed), path)
	if raw, err := k.Raw(key, model.Origin{File: path}); err != nil || string(raw) != changed {
		t.Errorf("applied: %q %v", raw, err)
	}
}

func TestWhatCannotBeKept(t *testing.T) {
	blocked := func(t *testing.T, k *kit) {
		t.Helper()
		if err := os.WriteFile(k.dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	full := func(t *testing.T, k *kit) {
		t.Helper()
		if err := os.Mkdir(k.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/full", filepath.Join(k.dir, "serviceaccount_default_a.yaml.tmp")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		prepare func(*testing.T, *kit)
		says    string
	}{
		{"the folder is a file", blocked, "not a directory"},
		{"the disk is full", full, "no space left on device"},
		{"no folder", func(_ *testing.T, k *kit) { k.dir, k.Store.dir = "", "" }, "--overlay"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for what, change := range map[string]func(*kit) console.Applied{
				"apply":  func(k *kit) console.Applied { return k.Apply([]byte(account("a")), "f.yaml")[0] },
				"delete": func(k *kit) console.Applied { return k.Delete(accountKey("a")) },
			} {
				k := newKit(t)
				tc.prepare(t, k)
				k.there[accountKey("a")] = &model.ServiceAccount{Meta: model.Meta{Key: accountKey("a")}}
				a := change(k)
				if a.Result != "failed" || len(a.Findings) != 1 || !strings.Contains(a.Findings[0].Message, tc.says) {
					t.Errorf("%s: got %+v", what, a)
				}
				if tc.name == "the disk is full" && len(k.stored()) != 0 {
					t.Errorf("%s: left behind: %v", what, k.stored())
				}
			}
		})
	}
}

// follow runs the file source over the user's folder and the store's.
func (k *kit) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancelSource, k.sourceEnded, k.deltas = cancel, make(chan error, 1), make(chan model.Delta)
	go func() {
		k.sourceEnded <- file.New(file.Options{Paths: []string{k.folder}, Overlay: k.dir}).Run(ctx, k.deltas)
	}()
	k.t.Cleanup(func() {
		cancel()
		<-k.sourceEnded
	})
	k.there = map[model.Key]model.Object{}
	k.take()
}

// take puts the next delta into the mesh.
func (k *kit) take() {
	k.t.Helper()
	select {
	case d := <-k.deltas:
		for _, key := range d.Deletes {
			delete(k.there, key)
		}
		for _, o := range d.Upserts {
			k.there[o.Head().Key] = o
		}
	case err := <-k.sourceEnded:
		k.sourceEnded <- err
		k.t.Fatalf("the source ended: %v", err)
	}
}

func TestTheSourceHonoursTheStore(t *testing.T) {
	const mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: \"{}\"}\n"
	const space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
	k := newKit(t)
	k.write("a.yaml", account("old")+"---\n"+mesh+"---\n"+space)
	k.follow()
	find := func(key model.Key) model.Object { return console.Find(&model.Snapshot{Objects: cow.Of(k.there)}, key) }
	k.Store.find = find

	// Delete hides an object of the folder, Apply brings it back, and so on.
	for _, key := range []model.Key{
		accountKey("old"), {Kind: model.KindConfigMap, Namespace: "istio-system", Name: "istio"}, {Kind: model.KindNamespace, Namespace: "default", Name: "shop"},
	} {
		if a := k.Delete(key); a.Result != "deleted" {
			t.Errorf("deleting %s: %+v", key, a)
		}
		for k.take(); find(key) != nil; k.take() {
		}
		if a := k.Delete(key); a.Result != "not found" {
			t.Errorf("deleting %s again: %s", key, a.Result)
		}
	}
	if n := len(k.there); n != 0 {
		t.Errorf("%d objects are left: %v", n, k.there)
	}
	if got := results(k.Apply([]byte(account("old")), "b.yaml")); !cmp.Equal(got, []string{"ServiceAccount/default/old created"}) {
		t.Errorf("applied after it was deleted: %v", got)
	}
	for k.take(); find(accountKey("old")) == nil; k.take() {
	}
	if o := find(accountKey("old")).Head().Origin.String(); o != "b.yaml:1" {
		t.Errorf("in force is the one of %s, want b.yaml:1", o)
	}
}
