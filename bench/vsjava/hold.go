package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holder keeps the machine's memory in the machine. A hypervisor may take back every free block of 2 MB (free page reporting), and the next
// touch of it costs more than a whole send: deleting one broker's segments makes the next one's appends five times as dear. A page that is
// held in each block keeps the block from becoming free as a whole; the other 511 pages are given back. On a machine of its own there is
// nothing of this kind, and holding a five-hundredth of its memory changes nothing.
type holder struct {
	memory []byte
	blocks int
}

const (
	pageBytes  = 4096
	blockPages = 512 // of 2 MB, the pieces that are reported as free
	holdLeaves = 3 << 30
)

const holdReason = "A page was held in each 2 MB of memory meanwhile, so that a hypervisor does not take freed memory back: an append to memory that it gives again costs several times as much."

// Entries of /proc/self/pagemap.
const (
	entryBytes = 8
	present    = 1 << 63
	frameBits  = 1<<55 - 1
)

var errFrames = errors.New("the numbers of page frames are shown to root only")

// holdMemory touches nearly all available memory and lets all of it go again but a page of each block.
func holdMemory(ctx context.Context, available int64) (*holder, error) {
	size := max(0, available-holdLeaves) / pageBytes * pageBytes
	if size == 0 {
		return nil, fmt.Errorf("only %d MB are available", available>>20)
	}
	m, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d MB: %w", size>>20, err)
	}
	h := &holder{memory: m}
	if err := h.thin(ctx); err != nil {
		return nil, errors.Join(err, h.release())
	}
	return h, nil
}

func (h *holder) thin(ctx context.Context) error {
	if err := unix.Madvise(h.memory, unix.MADV_NOHUGEPAGE); err != nil { // a large page cannot be given back in parts
		return fmt.Errorf("small pages: %w", err)
	}
	for i := 0; i < len(h.memory); i += pageBytes {
		if h.memory[i] = 1; i%(64<<20) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(h.memory)))) / pageBytes
	entries := make([]byte, entryBytes*(1<<15))
	seen := map[uint64]bool{}
	for page, pages := 0, len(h.memory)/pageBytes; page < pages; {
		n := min(len(entries)/entryBytes, pages-page)
		if _, err := f.ReadAt(entries[:n*entryBytes], (first+int64(page))*entryBytes); err != nil {
			return fmt.Errorf("read the page map: %w", err)
		}
		if err := h.giveBack(entries[:n*entryBytes], page, seen); err != nil {
			return err
		}
		page += n
	}
	h.blocks = len(seen)
	return nil
}

// giveBack lets pages go whose block has one that is held already.
func (h *holder) giveBack(entries []byte, page int, seen map[uint64]bool) error {
	from := page // of those that go
	flush := func(to int) error {
		if from == to {
			return nil
		}
		return unix.Madvise(h.memory[from*pageBytes:to*pageBytes], unix.MADV_DONTNEED)
	}
	for i := 0; i < len(entries); i += entryBytes {
		e := binary.NativeEndian.Uint64(entries[i:])
		frame := e & frameBits
		if e&present == 0 {
			continue
		}
		if frame == 0 {
			return errFrames
		}
		at := page + i/entryBytes
		if block := frame / blockPages; !seen[block] {
			seen[block] = true
			if err := flush(at); err != nil {
				return err
			}
			from = at + 1
		}
	}
	return flush(page + len(entries)/entryBytes)
}

// release gives everything back. A nil holder has nothing.
func (h *holder) release() error {
	if h == nil {
		return nil
	}
	return unix.Munmap(h.memory)
}
