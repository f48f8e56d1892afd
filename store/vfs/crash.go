package vfs

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// sector is what a disk writes as a whole: a torn page is made of old and new sectors.
const sector = 512

// KillClone is the file system as a killed process leaves it: everything written is there, locks are gone.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, seen := m.emptyClone()
	for name, n := range m.nodes {
		c.nodes[name] = seen(n, func(n *inode) []byte { return cloneRacy(n.data) })
	}
	return c
}

// CrashClone is one of the states in which a power cut may leave the file system, chosen by seed: of each directory, the entry
// changes since its last SyncDir are kept up to some point; of each file, each page written since it was synced is old,
// new, or torn at a sector; a size not yet synced is old or new.
func (m *Mem) CrashClone(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rnd := rand.New(rand.NewPCG(seed, 0xa909ee))
	c, seen := m.emptyClone()
	entries := maps.Clone(m.nodes)
	for _, dir := range slices.Sorted(maps.Keys(m.undo)) {
		ops := m.undo[dir]
		keep := rnd.IntN(len(ops) + 1)
		for _, op := range slices.Backward(ops[keep:]) {
			if op.was == nil {
				delete(entries, op.name)
			} else {
				entries[op.name] = op.was
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if reachable(entries, name) {
			c.nodes[name] = seen(entries[name], func(n *inode) []byte { return n.afterCrash(rnd) })
		}
	}
	return c
}

func reachable(entries map[string]*inode, name string) bool {
	for dir := path.Dir(name); dir != name; name, dir = dir, path.Dir(dir) {
		if entries[dir] == nil {
			return false
		}
	}
	return true
}

// emptyClone is a new file system and a function that clones each inode once, with the contents that it is given.
func (m *Mem) emptyClone() (*Mem, func(*inode, func(*inode) []byte) *inode) {
	c := NewMem(m.now)
	c.capacity = m.capacity
	done := map[*inode]*inode{}
	return c, func(n *inode, contents func(*inode) []byte) *inode {
		if have := done[n]; have != nil {
			return have
		}
		fresh := &inode{dir: n.dir, modTime: n.modTime}
		if !n.dir {
			fresh.data = contents(n)
			fresh.durable = slices.Clone(fresh.data)
			fresh.allocated = map[int64]bool{}
			for p := range n.allocated {
				if p*PageSize < int64(len(fresh.data)) {
					fresh.allocated[p] = true
				}
			}
			c.used += uint64(len(fresh.allocated)) * PageSize
		}
		done[n] = fresh
		return fresh
	}
}

func cloneRacy(b []byte) []byte {
	c := make([]byte, len(b))
	copyRacy(c, b)
	return c
}

func (n *inode) afterCrash(rnd *rand.Rand) []byte {
	data := cloneRacy(n.data)
	size := len(data)
	if size != len(n.durable) && rnd.IntN(2) == 0 {
		size = len(n.durable)
	}
	out := make([]byte, size)
	copy(out, n.durable)
	for from := 0; from < min(size, len(data)); from += PageSize {
		to := min(from+PageSize, size, len(data))
		switch rnd.IntN(3) {
		case 0: // the old page
		case 1:
			copy(out[from:to], data[from:to])
		case 2:
			cut := min(from+rnd.IntN(PageSize/sector)*sector, to)
			if rnd.IntN(2) == 0 {
				copy(out[from:cut], data[from:cut])
			} else {
				copy(out[cut:to], data[cut:to])
			}
		}
	}
	return out
}
