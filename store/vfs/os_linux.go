package vfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"time"
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

func load(b []byte) error { return unix.Madvise(b, unix.MADV_POPULATE_READ) }

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

// readDir is the entries of a directory, in no order. os.ReadDir makes a file, an entry and a look by the whole path for each of
// them: with forty thousand queues, twice the time.
func readDir(dir string) ([]Info, error) {
	fd, err := openDescriptor(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	infos, err := readEntries(fd)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	return infos, nil
}

// Where a directory entry of the kernel (linux_dirent64) has its fields.
const (
	entryLength = 16
	entryType   = 18
	entryName   = 19
)

func readEntries(fd int) (infos []Info, err error) {
	var space [4096]byte
	for {
		var n int
		err := retryIntr(func() (err error) {
			n, err = unix.Getdents(fd, space[:])
			return err
		})
		if err != nil || n <= 0 {
			return infos, err
		}
		for rest := space[:n]; len(rest) > entryName; {
			length := int(binary.NativeEndian.Uint16(rest[entryLength:]))
			if length <= entryName || length > len(rest) {
				return nil, unix.EIO
			}
			name := rest[entryName:length]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if infos, err = appendEntry(infos, fd, rest[entryType], name); err != nil {
				return nil, err
			}
			rest = rest[length:]
		}
	}
}

func appendEntry(infos []Info, fd int, kind byte, name []byte) ([]Info, error) {
	if string(name) == "." || string(name) == ".." {
		return infos, nil
	}
	info := Info{Name: string(name)}
	if kind == unix.DT_DIR {
		info.Dir = true
		return append(infos, info), nil
	}
	var st unix.Stat_t
	err := retryIntr(func() error { return unix.Fstatat(fd, info.Name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, fs.ErrNotExist) {
		return infos, nil // removed since the directory was read
	}
	if err != nil {
		return nil, err
	}
	if info.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR; !info.Dir {
		info.Size, info.ModTime = st.Size, time.Unix(st.Mtim.Unix())
	}
	return append(infos, info), nil
}
