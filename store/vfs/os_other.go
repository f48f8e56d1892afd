//go:build unix && !linux

package vfs

import "golang.org/x/sys/unix"

const setLock = unix.F_SETLK

func dataSync(fd int) error { return unix.Fsync(fd) }

func syncFS(int) error { return unix.EOPNOTSUPP }

func allocate(int, int64, int64) error { return unix.EOPNOTSUPP }

func zeroRange(int, int64, int64) error { return unix.EOPNOTSUPP }

func resident([]byte) bool { return true }
