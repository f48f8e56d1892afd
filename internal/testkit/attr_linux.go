package testkit

import "syscall"

// attributes end the child with its parent (a test that is killed leaves no server behind) and keep the terminal's ^C from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
