package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func account(name string) string {
	return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
}

// newStore makes a store over a mesh that has the named accounts.
func newStore(t *testing.T, there ...string) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "applied")
	return New(dir, file.NewDecoder(), func(k model.Key) bool {
		for _, name := range there {
			if k == (model.Key{Kind: model.KindServiceAccount, Namespace: "default", Name: name}) {
				return true
			}
		}
		return false
	}), dir
}

func TestApplySaysWhatBecameOfEach(t *testing.T) {
	s, dir := newStore(t, "old")
	got := s.Apply([]byte("# two good ones and a bad one\n"+account("new")+"---\n"+account("old")+"---\napiVersion: v1\nkind: Servise\nmetadata: {name: x}\n"), "/somewhere/f.yaml")
	var results []string
	for _, a := range got {
		results = append(results, a.Result)
	}
	if strings.Join(results, " ") != "created configured invalid" {
		t.Errorf("results are %v", results)
	}
	if len(got[2].Findings) == 0 || !strings.Contains(got[2].Findings[0].String(), "/somewhere/f.yaml:") {
		t.Errorf("the bad one is not named: %v", got[2].Findings)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files: %v %v", files, err)
	}
	if again := s.Apply([]byte(account("new")), "/elsewhere/g.yaml"); again[0].Result != "unchanged" {
		t.Errorf("applied again: %s", again[0].Result)
	}
}

func TestMessagesNameTheUsersFile(t *testing.T) {
	s, dir := newStore(t)
	s.Apply([]byte("\n\n"+account("a")), "/somewhere/f.yaml")
	raw, err := os.ReadFile(filepath.Join(dir, "serviceaccount_default_a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := file.Decode(raw, filepath.Join(dir, "x.yaml"))
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("stored: %v %v", objects, findings)
	}
	if o := objects[0].Head().Origin.String(); o != "/somewhere/f.yaml:3" {
		t.Errorf("the object's origin is %s, want /somewhere/f.yaml:3", o)
	}
}

func TestDeleteLeavesAMark(t *testing.T) {
	s, dir := newStore(t, "old")
	key := model.Key{Kind: model.KindServiceAccount, Namespace: "default", Name: "old"}
	if a := s.Delete(key); a.Result != "deleted" {
		t.Errorf("result %s", a.Result)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "serviceaccount_default_old.yaml"))
	if err != nil || !strings.Contains(string(raw), "kind: Deleted") {
		t.Errorf("mark: %q %v", raw, err)
	}
	if a := s.Delete(model.Key{Kind: model.KindService, Namespace: "default", Name: "old"}); a.Result != "not found" {
		t.Errorf("an object that is not there: %s", a.Result)
	}
}

func TestRawFindsWhatWasWritten(t *testing.T) {
	s, _ := newStore(t)
	from := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(from, []byte(account("a")+"---\n"+account("b")), 0o600); err != nil {
		t.Fatal(err)
	}
	key := model.Key{Kind: model.KindServiceAccount, Namespace: "default", Name: "b"}
	raw, err := s.Raw(key, model.Origin{File: from})
	if err != nil || !strings.Contains(string(raw), "name: b") || strings.Contains(string(raw), "name: a}") {
		t.Errorf("got %q %v", raw, err)
	}
	if raw, err := s.Raw(key, model.Origin{Source: "process"}); raw != nil || err != nil {
		t.Errorf("an object that nobody wrote: %q %v", raw, err)
	}
	if err := os.Remove(from); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Raw(key, model.Origin{File: from}); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestAFolderThatCannotBeWrittenIsNamed(t *testing.T) {
	blocker := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(filepath.Join(blocker, "applied"), file.NewDecoder(), func(model.Key) bool { return false })
	a := s.Apply([]byte(account("a")), "f.yaml")
	if a[0].Result != "invalid" || len(a[0].Findings) == 0 || !strings.Contains(a[0].Findings[0].Message, "applied objects") {
		t.Errorf("got %+v", a)
	}
}
