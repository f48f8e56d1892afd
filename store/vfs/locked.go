package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Locked tells whether somebody holds the lock that [FS].Lock takes on a file, without taking it or writing anything. pid is the process that
// does, 0 where the system does not say: an Apogee broker's lock belongs to no process.
func Locked(name string) (held bool, pid int, err error) {
	f, err := openPlain(name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	err = retryIntr(func() error { return unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) })
	if err := errors.Join(err, f.Close()); err != nil {
		return false, 0, &fs.PathError{Op: "look at lock", Path: name, Err: err}
	}
	return lock.Type != unix.F_UNLCK, max(int(lock.Pid), 0), nil
}
