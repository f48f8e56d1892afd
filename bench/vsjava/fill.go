package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// filler keeps the machine's memory full of page cache: a broker's machine in production has it full, and appends go to pages that are
// taken from it. A virtual machine that was never full gives fresh pages out at a price, on their first touch, that is higher than that
// of the whole send. The cache is filled by reading a file that is one hole: it needs no disk.
type filler struct {
	path string
	size int64
	at   int64 // where the last fill ended: what was read longest ago is what is gone first
	free func() (int64, error)
}

// leaveFree is what the file leaves of the memory; the servers' own has to come from somewhere. enough is when memory counts as full: the
// kernel itself keeps some free.
const (
	leaveFree = 1 << 30
	enough    = 300 << 20
)

const fillReason = "The machine's memory was filled with page cache first, as it is on a broker's machine in production: in a virtual machine " +
	"the first touch of memory that was never used costs more than a whole send, and which broker pays for it is chance."

// newFiller makes the file. A nil one does nothing.
func newFiller(dir string) (*filler, error) {
	available, err := memory("MemAvailable")
	if err != nil {
		return nil, err
	}
	f := &filler{path: filepath.Join(dir, "sparse"), size: max(1, (available-leaveFree)>>24) << 24, free: func() (int64, error) { return memory("MemFree") }}
	file, err := os.Create(f.path)
	if err != nil {
		return nil, err
	}
	return f, errors.Join(file.Truncate(f.size), file.Close())
}

func memory(key string) (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return meminfo(string(text), key)
}

// meminfo is one line of /proc/meminfo, in bytes.
func meminfo(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("no %s in /proc/meminfo", key)
}

// fill reads on in the file until the memory is full, at most once around.
func (f *filler) fill(ctx context.Context) error {
	if f == nil {
		return nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	buf := make([]byte, 1<<20)
	for read := int64(0); read < f.size && ctx.Err() == nil; {
		if read%(16<<20) == 0 {
			if free, err := f.free(); err != nil || free < enough {
				return err
			}
		}
		n, err := file.ReadAt(buf[:min(int64(len(buf)), f.size-f.at)], f.at)
		if err != nil {
			return err
		}
		read += int64(n)
		f.at = (f.at + int64(n)) % f.size
	}
	return ctx.Err()
}

// settle writes what earlier runs have left to be written, so that the next one does not pay for it.
func settle(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// dontNeed drops a file from the page cache.
func dontNeed(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop %s from the page cache: %w", f.Name(), err)
	}
	return nil
}
