package install

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// WriteChart writes the Helm chart into a folder, which must not have one: the templates as
// they are, the options' values as the defaults, and definitions where Helm looks for them.
// The namespace is Helm's to say.
func WriteChart(dir string, o Options, definitions []*unstructured.Unstructured) error {
	if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err == nil {
		return fmt.Errorf("%s has a chart: remove it, or name another folder", dir)
	}
	values, err := o.values()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return err
	}
	crds, err := YAML(definitions)
	if err != nil {
		return err
	}
	err = fs.WalkDir(chart, "chart", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := chart.ReadFile(name)
		if err != nil {
			return err
		}
		return write(filepath.Join(dir, strings.TrimPrefix(name, "chart/")), raw)
	})
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "values.yaml"), text); err != nil {
		return err
	}
	return write(filepath.Join(dir, "crds", "weft.yaml"), crds)
}

func write(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a chart is no secret
		return err
	}
	return os.WriteFile(path, raw, 0o644) //nolint:gosec // a chart is no secret
}
