//go:build !linux

package capture

import "errors"

var errLinux = errors.New("redirecting traffic needs Linux")

// InstallPod works on Linux only.
func InstallPod(Pod) error { return errLinux }

// Remove works on Linux only.
func Remove() error { return errLinux }
