//go:build !linux

package testkit

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
