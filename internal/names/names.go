// Package names finds things by name, without locks and without touching more memory than need be.
//
// A broker looks topics up several times for each message. With ten thousand of them what that costs is not the hashing but the cache
// misses: a map of pointers has the bucket, the key's bytes and what the pointer points to. Here it is the slot and the entry, which
// holds name and value side by side. Start at [Table].
package names

import (
	"hash/maphash"
	"iter"
	"strings"
	"sync/atomic"
)

// Table maps names to values that live as long as their names are in the table. Find may be called at any time; what changes the table
// is serialised by its owner. It is an open hash table with linear probing, at most three quarters full.
type Table[V any] struct {
	seed  maphash.Seed
	slots atomic.Pointer[slots[V]]

	used int // slots that are not free, by writers
	dead int // of those, removed
}

// slots are never used twice: where names have been removed, a new table is made without them sooner or later.
type slots[V any] struct {
	hashes  []atomic.Uint64 // set after the entry; 0 for a free slot
	entries []atomic.Pointer[entry[V]]
}

type entry[V any] struct {
	name  string
	hash  uint64
	value V
}

const leastSlots = 64

// New makes an empty table.
func New[V any]() *Table[V] {
	t := &Table[V]{seed: maphash.MakeSeed()}
	t.slots.Store(newSlots[V](leastSlots))
	return t
}

func newSlots[V any](n int) *slots[V] {
	return &slots[V]{hashes: make([]atomic.Uint64, n), entries: make([]atomic.Pointer[entry[V]], n)}
}

func (t *Table[V]) hash(name string) uint64 { return maphash.String(t.seed, name) | 1 } // never that of a free slot

// Find is the value of a name, nil if there is none. It keeps nothing of the name and allocates nothing.
func (t *Table[V]) Find(name string) *V {
	if i, s := t.find(name); i >= 0 {
		if e := s.entries[i].Load(); e != nil {
			return &e.value
		}
	}
	return nil
}

// find is the slot of a name, -1 if there is none.
func (t *Table[V]) find(name string) (int, *slots[V]) {
	s, hash := t.slots.Load(), t.hash(name)
	mask := uint64(len(s.hashes) - 1)
	for i := hash >> 1 & mask; ; i = (i + 1) & mask {
		switch h := s.hashes[i].Load(); h {
		case 0:
			return -1, s
		case hash:
			if e := s.entries[i].Load(); e != nil && e.name == name {
				return int(i), s
			}
		}
	}
}

func (s *slots[V]) put(e *entry[V]) {
	mask := uint64(len(s.hashes) - 1)
	i := e.hash >> 1 & mask
	for s.hashes[i].Load() != 0 {
		i = (i + 1) & mask
	}
	s.entries[i].Store(e)
	s.hashes[i].Store(e.hash)
}

// Add is the value of a name, which is made by the function, with a name of its own, if there is none. Nobody finds it before that.
func (t *Table[V]) Add(name string, fill func(name string, v *V)) *V {
	if v := t.Find(name); v != nil {
		return v
	}
	s := t.slots.Load()
	if (t.used+1)*4 > len(s.hashes)*3 {
		s = t.rebuild()
	}
	e := &entry[V]{name: strings.Clone(name), hash: t.hash(name)}
	fill(e.name, &e.value)
	t.used++
	s.put(e)
	return &e.value
}

// Remove takes a name out of the table, and reports whether it was there. Who has its value may go on using it.
func (t *Table[V]) Remove(name string) bool {
	i, s := t.find(name)
	if i < 0 {
		return false
	}
	s.entries[i].Store(nil)
	if t.dead++; t.dead > leastSlots && t.dead > t.used/2 {
		t.rebuild()
	}
	return true
}

// rebuild makes slots for the names that are left and as many again.
func (t *Table[V]) rebuild() *slots[V] {
	live := t.used - t.dead
	n := leastSlots
	for n*3 < (live+1)*4*2 {
		n *= 2
	}
	old, s := t.slots.Load(), newSlots[V](n)
	for i := range old.entries {
		if e := old.entries[i].Load(); e != nil {
			s.put(e)
		}
	}
	t.used, t.dead = live, 0
	t.slots.Store(s)
	return s
}

// Len is how many names there are. Like Add and Remove it is for the owner.
func (t *Table[V]) Len() int { return t.used - t.dead }

// All is every name, in no order. It may miss names that come or go meanwhile.
func (t *Table[V]) All() iter.Seq2[string, *V] {
	return func(yield func(string, *V) bool) {
		s := t.slots.Load()
		for i := range s.entries {
			if e := s.entries[i].Load(); e != nil && !yield(e.name, &e.value) {
				return
			}
		}
	}
}
