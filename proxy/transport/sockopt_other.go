//go:build !linux

package transport

import "errors"

func setMark(int, int) error { return errors.ErrUnsupported }

func bindWithoutPort(int) {}
