package store

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"apogee/store/record"
	"apogee/store/vfs"
)

// javaSwap is a directory as a Java broker leaves it that is killed after so many steps of putting compacted files in their place. The
// commit log has lost its first files, and with them some messages that only the compaction log has. stale: somebody was reading an old file
// when the compaction before this one wanted to delete it.
func javaSwap(t *testing.T, steps int, stale bool) (r *rig, more bool) {
	r = compactionRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	s := r.open()
	for i := range 100 {
		key := fmt.Sprint("k", i%3)
		if i < 12 {
			key = fmt.Sprint("once", i)
		}
		put(t, s, keyed(key, fmt.Sprint("v", i)))
	}
	s.compact.copyAll(never)
	l := s.compact.find("C", 0)
	must(t, s.flushQueues(true))
	old, err := s.compact.fullFiles(l)
	must(t, err)
	keys := newKeyTable(1000)
	for _, g := range old {
		must(t, g.each(never, func(_ []byte, h *record.Header) error { return keys.note(h, noPosition) }))
	}
	next, err := s.compact.rewrite(l, old, keys, never)
	must(t, err)
	if len(old) < 5 || len(next) < 2 {
		t.Fatalf("%d files become %d", len(old), len(next))
	}
	clone := r.on(r.mem.KillClone())
	abandon(s)
	fs := clone.mem
	if stale {
		b, err := vfs.ReadFile(fs, path.Join(l.dir, fileName(old[1].log.base)))
		must(t, err)
		must(t, vfs.WriteFileAtomic(fs, path.Join(l.dir, fileName(0)+javaDeleted), b))
	}
	step := func(f func(string) error, name string) {
		if steps--; steps >= 0 {
			must(t, f(name))
		}
	}
	for _, dir := range []string{l.dir, l.cqDir} {
		for _, name := range baseNames(old) {
			step(func(name string) error { return fs.Rename(name, name+javaDeleted) }, path.Join(dir, name))
		}
		for _, name := range baseNames(next) {
			step(func(name string) error { return fs.Rename(path.Join(dir, compactingDir, name), path.Join(dir, name)) }, name)
		}
		for _, name := range baseNames(old) {
			step(fs.Remove, path.Join(dir, name+javaDeleted))
		}
	}
	logs, err := fs.ReadDir("/data/store/commitlog")
	must(t, err)
	for _, info := range logs[:1] {
		must(t, fs.Remove(path.Join("/data/store/commitlog", info.Name)))
	}
	return clone, steps >= 0
}

// A Java broker that is killed while it puts compacted files in their place does not start again. Nothing is lost here, wherever it was.
func TestJavaKilledInASwap(t *testing.T) {
	for _, stale := range []bool{false, true} {
		for steps, more := 0, true; more; steps++ {
			var r *rig
			r, more = javaSwap(t, steps, stale)
			for range 2 {
				s := r.open()
				s.compact.copyAll(never)
				got := " " + compacted(t, s) + " "
				for _, want := range []int{0, 1, 4, 7, 11, 97, 98, 99} {
					if word := fmt.Sprintf(" %d:v%d ", want, want); !strings.Contains(got, word) {
						t.Fatalf("after %d steps (%t)%sis gone: %s", steps, stale, word, got)
					}
				}
				if strings.Count(got, " 0:v0 ") != 1 {
					t.Errorf("after %d steps: %s", steps, got)
				}
				must(t, s.Close())
				for _, dir := range []string{"compactionLog", "compactionCq"} {
					list, err := r.mem.ReadDir("/data/store/compaction/" + dir + "/C/0")
					must(t, err)
					for _, info := range list {
						if info.Dir || strings.HasSuffix(info.Name, javaDeleted) && !stale {
							t.Errorf("after %d steps %s is left in %s", steps, info.Name, dir)
						}
					}
				}
			}
		}
	}
}
