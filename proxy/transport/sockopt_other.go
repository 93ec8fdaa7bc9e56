//go:build !linux

package transport

import "errors"

func setMark(int, int) error { return errors.ErrUnsupported }

func setTransparent(int, bool) error { return errors.ErrUnsupported }

func setFreebind(int, bool) error { return errors.ErrUnsupported }

func bindWithoutPort(int) {}

// peerEnded cannot be asked here; the read deadline has to do.
func peerEnded(int) bool { return false }
