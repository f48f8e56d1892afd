package store

import (
	"context"
	"errors"
	"fmt"

	"apogee/store/vfs"
)

// flushIndex makes the index durable.
func (s *Store) flushIndex() error {
	x := s.index
	if x == nil {
		return nil
	}
	x.syncs.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.files); n > 0 && x.build {
		return x.sync(x.files[n-1])
	}
	return nil
}

// clean deletes files that only know records before a log offset, never the last one.
func (x *indexFiles) clean(minPhysical int64) error {
	for {
		f, blocks, err := x.removeFirst(minPhysical)
		if f == nil || err != nil {
			return err
		}
		x.s.cleaner.shred.shred(context.Background(), f, blocks) // not held: who reads it does so under mu
	}
}

// removeFirst removes the oldest file if it is for clean; nil if it is not.
func (x *indexFiles) removeFirst(minPhysical int64) (*mappedFile, vfs.File, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.files) < 2 || x.files[0].head.endPhys >= minPhysical {
		return nil, nil, nil
	}
	f := x.files[0].f
	blocks := x.s.cleaner.shred.open(f)
	if err := f.remove(); err != nil {
		err = fmt.Errorf("delete index file: %w", err)
		if blocks != nil {
			err = errors.Join(err, blocks.Close())
		}
		return nil, nil, err
	}
	x.files = x.files[1:]
	return f, blocks, nil
}

// unmapIdle drops mappings that have not been used for a while.
func (x *indexFiles) unmapIdle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.files {
		f.f.unmapIdle()
	}
}

func (x *indexFiles) close() {
	x.syncs.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.files {
		f.f.close()
	}
}

// cut goes back to off, where the log ends now.
func (x *indexFiles) cut(off int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.build && x.pos.Load() > off {
		x.pos.Store(off)
	}
}
