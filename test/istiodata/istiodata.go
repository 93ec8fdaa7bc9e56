// Package istiodata gives tests the files of Istio's own Go module: the inputs and the
// expected outcome of Istio's tests. They are read from the module cache and are no part
// of this repository.
//
// The version is the one that test/peers/istiod is built of, whose go.sum vouches for
// it. Where it is not in the cache the go command fetches it, 12 MB, as it fetches any
// module; a test without a network is skipped and says so.
package istiodata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	module = "istio.io/istio"
	// pinned is the folder of the module that names the version, below the repository.
	pinned = "test/peers/istiod/peer"
	// patience bounds fetching the module.
	patience = 5 * time.Minute
)

// Dir is the folder of Istio's module. The test is skipped where it cannot be had.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := fetch()
	if err != nil {
		t.Skipf("Istio's module cannot be had: %v", err)
	}
	return dir
}

var fetch = sync.OnceValues(func() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, pinned, "go.mod")
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == module {
			return download(filepath.Dir(file), module+"@"+f[1])
		}
	}
	return "", fmt.Errorf("%s does not name %s", file, module)
})

func download(in, what string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", what)
	cmd.Dir = in
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if json.Unmarshal(out, &got) == nil && got.Error != "" {
		return "", errors.New(got.Error)
	}
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", what, err)
	}
	return got.Dir, nil
}

// repository is the folder of this module, which tests run below.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, pinned, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("there is no %s above", pinned)
		}
		dir = filepath.Dir(dir)
	}
}
