//go:build !linux

package process

import "syscall"

// dieWithParent: other systems know no such signal.
func dieWithParent(*syscall.SysProcAttr) {}
