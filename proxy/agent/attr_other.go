//go:build !linux

package agent

import "syscall"

func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
