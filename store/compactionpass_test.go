package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"apogee/store/vfs"
)

// heldPass is a rig with full files in its compaction log, whose next compaction calls at with each write to the new files.
func heldPass(t *testing.T, at func(n int64)) (*rig, *Store, *compactionLog) {
	var armed atomic.Bool
	var count atomic.Int64
	r := compactionRig(t)
	r.opts.FS = vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if armed.Load() && op == vfs.OpWrite && strings.Contains(name, compactingDir) {
			at(count.Add(1))
		}
		return nil
	})
	s := r.open()
	for i := range 200 {
		put(t, s, keyed(fmt.Sprint("k", i%100), fmt.Sprint("v", i)))
	}
	s.compact.copyAll(never)
	l := s.compact.find("C", 0)
	armed.Store(true)
	return r, s, l
}

// What is new can be read, and is synced, while a compaction of the same log goes on.
func TestNobodyWaitsForACompaction(t *testing.T) {
	reached, goOn := make(chan struct{}), make(chan struct{})
	_, s, l := heldPass(t, func(n int64) {
		if n == 1 {
			close(reached)
			<-goOn
		}
	})
	defer s.Close()
	var pass sync.WaitGroup
	var failed error
	pass.Go(func() { failed = s.compact.compact(l, never) })
	<-reached
	for i := range 20 { // into files that the pass does not know
		put(t, s, keyed("k0", fmt.Sprint("new", i)))
	}
	eventually(t, func() bool { return s.ReadEnd("C", 0) == 220 })
	must(t, s.compact.sync())
	close(goOn)
	pass.Wait()
	must(t, failed)
	got := compacted(t, s)
	if !strings.HasPrefix(got, "98:v98 99:v99 100:v100 ") || !strings.HasSuffix(got, " 219:new19") {
		t.Errorf("kept: %s", got)
	}
}

// Whoever deletes a topic waits for one step of a compaction of it.
func TestDeletionEndsACompaction(t *testing.T) {
	var writes atomic.Int64
	deleted := make(chan error, 1)
	var onFirst func()
	r, s, l := heldPass(t, func(n int64) {
		writes.Store(n)
		if n == 1 {
			onFirst()
		}
	})
	defer s.Close()
	onFirst = func() {
		go func() { deleted <- s.DeleteTopics("C") }()
		eventually(t, l.gone.Load)
	}
	must(t, s.compact.compact(l, never))
	must(t, <-deleted)
	if n := writes.Load(); n > 4 { // a file and its queue, and the marks at their ends
		t.Errorf("%d writes after the deletion", n)
	}
	if list, err := r.mem.ReadDir("/data/store/compaction/compactionLog/C"); err == nil && len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
	put(t, s, keyed("k", "again"))
	eventually(t, func() bool { return compacted(t, s) == "0:again" })
}
