package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is a folder under a running source, and what the source has told.
type folder struct {
	t       *testing.T
	dir     string
	overlay string
	deltas  chan model.Delta
	objects map[string]uint64
	last    model.Delta
}

func start(t *testing.T, files map[string]string) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir()}
	for name, text := range files {
		f.write(name, text)
	}
	return startAt(t, f.dir)
}

// startAt follows a folder that is there.
func startAt(t *testing.T, dir string) *folder {
	t.Helper()
	f := &folder{t: t, dir: dir, deltas: make(chan model.Delta, 16), objects: map[string]uint64{}}
	f.overlay = filepath.Join(t.TempDir(), "overlay")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- file.New(file.Options{Paths: []string{f.dir}, Overlay: f.overlay}).Run(ctx, f.deltas) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	f.next()
	if !f.last.Full {
		t.Error("the first delta is not Full")
	}
	return f
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	p := filepath.Join(f.dir, name)
	if strings.HasPrefix(name, "/") {
		p = name
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// next waits for a delta and applies it.
func (f *folder) next() {
	f.t.Helper()
	select {
	case f.last = <-f.deltas:
	case <-time.After(60 * time.Second):
		f.t.Fatal("no delta")
	}
	for _, k := range f.last.Deletes {
		delete(f.objects, k.String())
	}
	for _, o := range f.last.Upserts {
		f.objects[o.Head().Key.String()] = o.Head().Hash
	}
}

// until waits for deltas until the condition holds: a change may come in parts.
func (f *folder) until(what string, cond func() bool) {
	f.t.Helper()
	for i := 0; !cond(); i++ {
		if i == 10 {
			f.t.Fatalf("not reached: %s; objects %v, findings:\n%s", what, f.objects, report(f.last.Findings))
		}
		f.next()
	}
}

func (f *folder) has(key string) bool { _, ok := f.objects[key]; return ok }

func (f *folder) found(part string) bool { return strings.Contains(report(f.last.Findings), part) }

func account(name string) string {
	return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
}

func route(weight string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec:\n  hosts: [a]\n  http:\n" +
		"  - route:\n    - destination: {host: a}\n      weight: " + weight + "\n"
}

// TestChangesShowAtOnce: it is the system's notice that shows a change, and not
// the look that comes every two seconds. The best of some tries counts, for the
// machine may be busy.
func TestChangesShowAtOnce(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": account("a")})
	best := time.Hour
	for i := 0; i < 8 && best > time.Second; i++ {
		name := fmt.Sprint("b", i)
		begin := time.Now()
		f.write(name+".yaml", account(name))
		f.until(name+" appears", func() bool { return f.has("ServiceAccount/default/" + name) })
		best = min(best, time.Since(begin))
	}
	if best > time.Second {
		t.Errorf("the fastest of eight changes took %v to show", best)
	}
}

func TestChanges(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": account("a"), "sub/b.yml": account("b"), "c.txt": "x", ".hidden.yaml": account("h")})
	if len(f.objects) != 2 || !f.has("ServiceAccount/default/a") || !f.has("ServiceAccount/default/b") {
		t.Fatalf("at first: %v", f.objects)
	}
	f.write("new/deep/c.yaml", account("c"))
	f.until("c appears", func() bool { return f.has("ServiceAccount/default/c") })
	if f.last.Why != "ServiceAccount default/c added (c.yaml)" {
		t.Errorf("why: %q", f.last.Why)
	}
	if err := os.Remove(filepath.Join(f.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f.until("a goes", func() bool { return !f.has("ServiceAccount/default/a") })
	if f.last.Why != "ServiceAccount default/a removed" {
		t.Errorf("why: %q", f.last.Why)
	}
	if err := os.RemoveAll(filepath.Join(f.dir, "sub")); err != nil {
		t.Fatal(err)
	}
	f.until("b goes", func() bool { return !f.has("ServiceAccount/default/b") })
}

// TestFolderIsALink: a folder may be a symbolic link. Changes where it leads show at once,
// and so does that it comes to lead elsewhere.
func TestFolderIsALink(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	f := &folder{t: t, dir: first}
	f.write("a.yaml", account("a"))
	f.write("sub/b.yaml", account("b"))
	f.write(filepath.Join(second, "c.yaml"), account("c"))
	f = startAt(t, link)
	if len(f.objects) != 2 || !f.has("ServiceAccount/default/a") || !f.has("ServiceAccount/default/b") {
		t.Fatalf("at first: %v", f.objects)
	}
	if at := f.last.Upserts[0].Head().Origin.File; !strings.HasPrefix(at, link) {
		t.Errorf("the file is called %s, not as the user knows it", at)
	}
	f.write(filepath.Join(first, "sub", "d.yaml"), account("d"))
	f.until("d appears", func() bool { return f.has("ServiceAccount/default/d") })
	next := link + ".next"
	if err := errors.Join(os.Symlink(second, next), os.Rename(next, link)); err != nil {
		t.Fatal(err)
	}
	f.until("only c is there", func() bool { return len(f.objects) == 1 && f.has("ServiceAccount/default/c") })
	f.write(filepath.Join(second, "e.yaml"), account("e"))
	f.until("e appears", func() bool { return f.has("ServiceAccount/default/e") })
}

func TestLastGoodStays(t *testing.T) {
	f := start(t, map[string]string{"r.yaml": route("1") + "---\n" + account("a")})
	good := f.objects["VirtualService/default/r"]
	f.write("r.yaml", route("ninety")+"---\n"+account("a")+"---\n"+account("b"))
	f.until("the bad version is reported", func() bool { return f.found("ninety") && f.has("ServiceAccount/default/b") })
	if f.objects["VirtualService/default/r"] != good || !f.found("info WEFT0114 "+filepath.Join(f.dir, "r.yaml")+":9: VirtualService default/r: the last good version stays") {
		t.Errorf("objects %v, findings:\n%s", f.objects, report(f.last.Findings))
	}
	// No YAML at all, but it can be told what it was meant to be.
	f.write("r.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec: [\n")
	f.until("accounts go", func() bool { return !f.has("ServiceAccount/default/a") })
	if f.objects["VirtualService/default/r"] != good {
		t.Error("the last good version is gone")
	}
	// Garbage: nothing of the file can be told, everything of it stays.
	f.write("r.yaml", "\x00\x01\x02")
	f.until("garbage is reported", func() bool { return f.found("not a text file") })
	if f.objects["VirtualService/default/r"] != good {
		t.Error("the last good version is gone")
	}
	f.write("r.yaml", route("2"))
	f.until("the corrected version is taken", func() bool { return f.objects["VirtualService/default/r"] != good && len(f.last.Findings) == 0 })
	if err := os.Remove(filepath.Join(f.dir, "r.yaml")); err != nil {
		t.Fatal(err)
	}
	f.until("it goes with its file", func() bool { return !f.has("VirtualService/default/r") })
}

func TestDuplicates(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": account("x"), "b.yaml": "\n" + account("x")})
	want := fmt.Sprintf("error WEFT0109 %s:2: ServiceAccount default/x: is there twice: it stands in %s:1 too, which is used (remove one, or rename it)",
		filepath.Join(f.dir, "b.yaml"), filepath.Join(f.dir, "a.yaml"))
	if !f.found(want) {
		t.Errorf("want %s\ngot %s", want, report(f.last.Findings))
	}
	if err := os.Remove(filepath.Join(f.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f.until("the other takes over", func() bool { return f.has("ServiceAccount/default/x") && len(f.last.Findings) == 0 })
}

func TestOverlay(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": route("1") + "---\n" + account("x")})
	base := f.objects["VirtualService/default/r"]
	f.write(filepath.Join(f.overlay, "r.yaml"), "# weft:origin /home/u/mine.yaml:7\n"+route("2"))
	f.until("the overlay wins", func() bool { return f.objects["VirtualService/default/r"] != base && len(f.last.Findings) == 0 })
	f.write(filepath.Join(f.overlay, "r.yaml"), "# weft:origin /home/u/mine.yaml:7\n"+route("x"))
	f.until("a bad one names the original", func() bool {
		return f.found("/home/u/mine.yaml:15: VirtualService default/r: spec.http[0].route[0].weight")
	})
	if f.objects["VirtualService/default/r"] == base {
		t.Error("a bad version in the overlay brought back what it covered")
	}
	f.write(filepath.Join(f.overlay, "r.yaml"), "apiVersion: weft.dev/v1alpha1\nkind: Deleted\nmetadata: {name: r}\nspec: {objectKind: VirtualService}\n")
	f.until("a Deleted hides it", func() bool { return !f.has("VirtualService/default/r") })
	if err := os.RemoveAll(f.overlay); err != nil {
		t.Fatal(err)
	}
	f.until("it is back", func() bool { return f.objects["VirtualService/default/r"] == base })
}

// What is written in the folder after something was applied is the newest word.
func TestOverlayEndsWithAnEdit(t *testing.T) {
	const key = "VirtualService/default/r"
	f := start(t, map[string]string{"a.yaml": route("1") + "---\n" + account("x")})
	base := f.objects[key]
	applied := filepath.Join(f.overlay, "r.yaml")
	f.write(applied, route("2"))
	f.until("the overlay wins", func() bool { return f.objects[key] != base })
	over := f.objects[key]

	f.write("a.yaml", "# a comment\n"+route("1")+"---\n"+account("y"))
	f.until("another object of the file changes", func() bool { return f.has("ServiceAccount/default/y") })
	f.write("a.yaml", route("many")+"---\n"+account("z"))
	f.until("a mistake", func() bool { return f.has("ServiceAccount/default/z") })
	if f.objects[key] != over {
		t.Error("the overlay ended although the folder has no other version")
	}
	f.write("a.yaml", route("3"))
	f.until("the edit wins", func() bool { return f.objects[key] != over && f.objects[key] != base })
	if f.last.Why != "VirtualService default/r changed (a.yaml), ServiceAccount default/z removed" {
		t.Errorf("why: %s", f.last.Why)
	}
	if _, err := os.Stat(applied); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the applied object is still there: %v", err)
	}

	f.write(applied, route("2"))
	f.until("the overlay wins again", func() bool { return f.objects[key] == over })
	f.write(applied, "apiVersion: weft.dev/v1alpha1\nkind: Deleted\nmetadata: {name: r}\nspec: {objectKind: VirtualService}\n")
	f.until("a Deleted hides it", func() bool { return !f.has(key) })
	f.write("a.yaml", route("1"))
	f.until("an edit brings it back", func() bool { return f.objects[key] == base })
}

func TestCommentsMoveLinesOnly(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": account("x")})
	hash := f.objects["ServiceAccount/default/x"]
	f.write("a.yaml", "# a comment\n"+account("x"))
	f.next()
	if len(f.last.Upserts) != 1 || f.last.Upserts[0].Head().Hash != hash || f.last.Upserts[0].Head().Origin.Line != 2 {
		t.Errorf("got %+v", f.last.Upserts)
	}
}

func TestIgnore(t *testing.T) {
	f := start(t, map[string]string{
		".weftignore": "# comment\ntry/\n*.tmp.yaml\ndeep/one\n", "a.yaml": account("a"), "try/b.yaml": account("b"),
		"x/c.tmp.yaml": account("c"), "deep/one/d.yaml": account("d"), "deep/two/e.yaml": account("e"),
	})
	if len(f.objects) != 2 || !f.has("ServiceAccount/default/a") || !f.has("ServiceAccount/default/e") {
		t.Errorf("got %v", f.objects)
	}
}

func TestMissingFolder(t *testing.T) {
	err := file.New(file.Options{Paths: []string{"/does/not/exist"}}).Run(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v", err)
	}
}

func TestOversizeFile(t *testing.T) {
	f := start(t, map[string]string{"a.yaml": account("a")})
	f.write("big.yaml", strings.Repeat("# x\n", 3<<20))
	f.until("it is refused", func() bool { return f.found("larger than 8 MiB") })
	if !f.has("ServiceAccount/default/a") {
		t.Error("another file went with it")
	}
}

// An object whose file is written again and again is never gone in between,
// neither when it is truncated first nor when it is moved away; unless its writer is
// held up in the midst, on a busy machine, for longer than a source waits for him.
func TestRewritingNeverDeletes(t *testing.T) {
	f := start(t, map[string]string{"r.yaml": route("0"), "s.yaml": account("s")})
	deletes, delays := map[string]int{}, map[string]int{}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case d := <-f.deltas:
				if len(d.Findings) > 0 {
					t.Errorf("findings:\n%s", report(d.Findings))
				}
				for _, k := range d.Deletes {
					deletes[k.String()]++
				}
				for _, o := range d.Upserts {
					f.objects[o.Head().Key.String()] = o.Head().Hash
				}
			case <-stop:
				return
			}
		}
	}()
	const patience = 100 * time.Millisecond // less than a source's, as the clock of files lags behind
	write := func(key string, f func()) {
		begin := time.Now()
		if f(); time.Since(begin) > patience {
			delays[key]++
		}
	}
	r, s := filepath.Join(f.dir, "r.yaml"), filepath.Join(f.dir, "s.yaml")
	const routeKey, accountKey = "VirtualService/default/r", "ServiceAccount/default/s"
	for i := range 150 {
		write(routeKey, func() { f.write("r.yaml", route(fmt.Sprint(i))) })
		write(accountKey, func() {
			if err := os.Rename(s, s+"~"); err != nil {
				t.Fatal(err)
			}
			f.write("s.yaml", account("s"))
		})
		time.Sleep(time.Duration(i%7) * 10 * time.Millisecond) // the pace of the writer, nothing waits for it
	}
	close(stop)
	<-done
	for key, n := range deletes {
		if n > delays[key] {
			t.Errorf("%s was deleted %d times; its writer was held up %d times", key, n, delays[key])
		}
	}
	if _, err := os.Stat(r); err != nil {
		t.Fatal(err)
	}
	objects, _ := file.Decode([]byte(route("149")), r)
	f.until("the last version is in force", func() bool { return f.objects[routeKey] == objects[0].Head().Hash })
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(strings.Repeat(route("90")+"---\n", 100))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if objects, _ := file.Decode(text, "r.yaml"); len(objects) != 100 {
			b.Fatal(len(objects))
		}
	}
}
