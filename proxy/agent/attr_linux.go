package agent

import "syscall"

// procAttr makes the engine die with the agent.
func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
