package vfs

import (
	"bytes"
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
		c.nodes[name] = seen(n, (*inode).contents)
	}
	return c
}

// Fork is the file system as a killed process leaves it, locks apart, with all that a power cut could still take from it: what was
// written and not synced before the kill is not durable after it either.
func (m *Mem) Fork() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, seen := m.emptyClone()
	copied := func(n *inode) *inode {
		if n == nil {
			return nil
		}
		f := seen(n, (*inode).contents)
		if f.durable = slices.Clone(n.durable); n.removed && !f.removed {
			c.forget(f)
		}
		return f
	}
	for name, n := range m.nodes {
		c.nodes[name] = copied(n)
	}
	for dir, ops := range m.undo {
		for _, op := range ops {
			c.undo[dir] = append(c.undo[dir], dirOp{op.name, copied(op.was)})
		}
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

// contents is a copy of what a running program sees.
func (n *inode) contents() []byte {
	if n.mapped == 0 {
		return slices.Clone(n.data)
	}
	c := make([]byte, len(n.data))
	copyRacy(c, n.data)
	return c
}

func (n *inode) afterCrash(rnd *rand.Rand) []byte {
	data := n.contents()
	if bytes.Equal(data, n.durable) {
		return data
	}
	size := len(data)
	if size != len(n.durable) && rnd.IntN(2) == 0 {
		size = len(n.durable)
	}
	out := make([]byte, size)
	copy(out, n.durable)
	for from := 0; from < min(size, len(data)); from += PageSize {
		to := min(from+PageSize, size, len(data))
		if bytes.Equal(out[from:to], data[from:to]) {
			continue
		}
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
