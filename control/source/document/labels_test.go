package document

import (
	"regexp"
	"strings"
	"testing"
)

// TestLabels compares with the rules as expressions.
func TestLabels(t *testing.T) {
	value := regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
	key := regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	long := strings.Repeat("a", 63)
	list := []string{
		"", "a", "app", "a.b-c_D9", "-a", "a-", "a b", "ä", "a\n", "x/", "/x", "x/y", "example.com/app", "Example.com/app", "x/y/z", "x/-y", "x y/z", "x/\n",
		long, long + "a", "x/" + long, "x/" + long + "a", strings.Repeat("x", 99) + "/a", "a/" + "_", ".", "9", "x/.",
	}
	for _, s := range list {
		if got, want := labelValue(s), value.MatchString(s); got != want {
			t.Errorf("value %q: %v, want %v", s, got, want)
		}
		if got, want := labelKey(s), key.MatchString(s); got != want {
			t.Errorf("key %q: %v, want %v", s, got, want)
		}
	}
}
