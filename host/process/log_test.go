package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/host/process"
)

func TestLogTail(t *testing.T) {
	l, err := process.NewLog("", 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2500 {
		l.Add(fmt.Sprint(i))
	}
	if diff := cmp.Diff([]string{"2498", "2499"}, l.Tail(2)); diff != "" {
		t.Error(diff)
	}
	if got := l.Tail(5000); len(got) != 1000 || got[0] != "1500" {
		t.Errorf("%d lines from %s, want 1000 from 1500", len(got), got[0])
	}
}

func TestLogRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := process.NewLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		l.Add(fmt.Sprintf("line %02d", i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var all string
	for _, p := range []string{path + ".1", path} {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 108 {
			t.Errorf("%s has %d bytes", p, len(raw))
		}
		all += string(raw)
	}
	if !strings.HasSuffix(all, "line 49\n") {
		t.Errorf("the end is %q", all)
	}
}

func TestLogFollow(t *testing.T) {
	l, err := process.NewLog("", 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Add("a")
	l.Add("b")
	var got []string
	seen := make(chan string, 10)
	done := make(chan error)
	go func() {
		done <- l.Follow(context.WithoutCancel(t.Context()), 1, func(s string) error { got = append(got, s); seen <- s; return nil })
	}()
	<-seen
	l.Add("c")
	<-seen
	l.Copy(strings.NewReader("d\r\n" + strings.Repeat("x", 70000) + "\ne"))
	l.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(got) != 6 || got[0] != "b" || got[2] != "d" || got[5] != "e" || len(got[3])+len(got[4]) != 70000 {
		t.Errorf("%d lines", len(got))
	}
}
