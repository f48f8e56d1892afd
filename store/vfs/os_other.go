//go:build unix && !linux

package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const setLock = unix.F_SETLK

func dataSync(fd int) error { return unix.Fsync(fd) }

func syncFS(int) error { return unix.EOPNOTSUPP }

func allocate(int, int64, int64) error { return unix.EOPNOTSUPP }

func zeroRange(int, int64, int64) error { return unix.EOPNOTSUPP }

func load(b []byte) error { return unix.Madvise(b, unix.MADV_WILLNEED) }

func resident([]byte) bool { return true }

// readDir is the entries of a directory, in no order.
func readDir(dir string) ([]Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() {
			infos = append(infos, Info{Name: e.Name(), Dir: true})
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was read
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, Info{Name: e.Name(), Size: st.Size(), ModTime: st.ModTime(), Dir: st.IsDir()})
	}
	return infos, nil
}
