package vfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const setLock = unix.F_OFD_SETLK

func dataSync(fd int) error { return unix.Fdatasync(fd) }

func syncFS(fd int) error { return unix.Syncfs(fd) }

// allocate keeps the size: a file has its full size before its blocks.
func allocate(fd int, off, n int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func zeroRange(fd int, off, n int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func resident(b []byte) bool {
	// One byte a page; a limited piece at a time keeps the vector on the stack.
	var vec [256]byte
	page := int(kernelPage)
	for len(b) > 0 {
		n := min(len(b), len(vec)*page)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(n), uintptr(unsafe.Pointer(&vec[0])))
		if errno != 0 {
			return false
		}
		for _, v := range vec[:(n+page-1)/page] {
			if v&1 == 0 {
				return false
			}
		}
		b = b[n:]
	}
	return true
}
