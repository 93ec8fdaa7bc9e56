package strict

import (
	"errors"
	"fmt"
	"strings"
)

// At puts the path of a field before an error; it is nil for nil. Paths of errors
// that come out of one another are joined: "a.b[2].c: what is wrong".
func At(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	path := fmt.Sprintf(format, args...)
	var p *pathError
	if errors.As(err, &p) && p == err { //nolint:errorlint // only the outermost is joined
		if !strings.HasPrefix(p.path, "[") {
			path += "."
		}
		return &pathError{path + p.path, p.err}
	}
	return &pathError{path, err}
}

// pathError is an error at a field.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }
