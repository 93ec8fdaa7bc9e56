package formula

import (
	"errors"
	"strings"
	"testing"
)

var some = map[string]float64{"_base.pod": 4, "_base.cpu": 0.85, "_base.cpu.sum": 120, "v1.rps": 12.5, "_base.zero": 0}

func look(n string) (float64, bool) { v, ok := some[n]; return v, ok }

func inBase(n string) string {
	if strings.HasPrefix(n, "_base.") || strings.HasPrefix(n, "v1.") {
		return n
	}
	return "_base." + n
}

func TestValues(t *testing.T) {
	for text, want := range map[string]float64{
		"30/{pod}": 7.5, "100/{{._base.pod}}": 25, "10": 10, "1.5e1 * 2": 30, ".5+ 1.": 1.5, "(1+2)*{ pod }": 12,
		"math.greatest({pod}, 10)": 10, "{cpu} > 0.5 ? 100 : 200": 100, "-2 - -3": 1, "7/2": 3.5, "100/{{ .v1.rps }}": 8,
		"math.ceil(30/{pod})": 8,
	} {
		f, err := Compile(text, inBase)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.Value(look); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestConditions(t *testing.T) {
	for text, want := range map[string]bool{
		"true": true, "false": false, "{cpu}>0.8": true, "{{._base.cpu.sum}}>100": true, "{cpu}>0.8 & {pod}>4": false,
		"{cpu}>0.9 | {pod}>=4": true, "{cpu}>0.8 && !({pod}<4)": true, "1": true, "0": false, "{pod}==4": true,
	} {
		f, err := Compile(text, inBase)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.True(look); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for text, part := range map[string]string{
		"": "is empty", "{pod": "is not closed", "{}": "is no name", "{a b}": "is no name", "1+": "Syntax error",
		"nothing": "undeclared reference", `"a"`: "has no place", "{pod}[0]": "has no place", "1 + true": "no matching overload",
		strings.Repeat("1+", 4000) + "1": "longer", "m": "neither a number",
	} {
		if _, err := Compile(text, inBase); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%.40q: %v, want %q", text, err, part)
		}
	}
	f, err := Compile("1/{gone}", inBase)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Value(look); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "{_base.gone}") {
		t.Error(err)
	}
	f, err = Compile("1/{zero}", inBase)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Value(look); err == nil || !strings.Contains(err.Error(), "divides by zero") {
		t.Error(err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"30/{pod}", "{{._base.cpu.sum}}>100 & 1|0", "1.e5", "math.ceil(.5)", "{a}?1:2", "((((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, err := Compile(text, inBase)
		if err != nil {
			return
		}
		_, _ = x.Value(look)
		_, _ = x.True(func(string) (float64, bool) { return 1, true })
	})
}
