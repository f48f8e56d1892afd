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
	"unsafe"
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
type slots[V any] struct{ all []slot[V] }

type slot[V any] struct {
	hash  atomic.Uint64 // set after the entry; 0 for a free slot
	entry atomic.Pointer[entry[V]]
}

// entry has a name of usual length in itself: whoever compares it has the value in the same or the next cache line.
type entry[V any] struct {
	name  string
	short [shortName]byte
	value V
}

const shortName = 32

func newEntry[V any](name string) *entry[V] {
	e := new(entry[V])
	if len(name) == 0 || len(name) > shortName {
		e.name = strings.Clone(name)
	} else {
		copy(e.short[:], name)
		e.name = unsafe.String(&e.short[0], len(name)) // never written again
	}
	return e
}

const leastSlots = 64

// New makes an empty table.
func New[V any]() *Table[V] {
	t := &Table[V]{seed: maphash.MakeSeed()}
	t.slots.Store(newSlots[V](leastSlots))
	return t
}

func newSlots[V any](n int) *slots[V] {
	return &slots[V]{make([]slot[V], n)}
}

func (t *Table[V]) hash(name string) uint64 { return maphash.String(t.seed, name) | 1 } // never that of a free slot

// Find is the value of a name, nil if there is none. It keeps nothing of the name and allocates nothing.
func (t *Table[V]) Find(name string) *V {
	if _, e := t.find(name); e != nil {
		return &e.value
	}
	return nil
}

// Lookup is Find, and the table's own copy of the name, which lies where the value does.
func (t *Table[V]) Lookup(name string) (own string, v *V) {
	if _, e := t.find(name); e != nil {
		return e.name, &e.value
	}
	return "", nil
}

// find is the slot and the entry of a name, nil if there is none.
func (t *Table[V]) find(name string) (*slot[V], *entry[V]) {
	all, hash := t.slots.Load().all, t.hash(name)
	mask := uint64(len(all) - 1)
	for i := hash >> 1 & mask; ; i = (i + 1) & mask {
		switch s := &all[i]; s.hash.Load() {
		case 0:
			return nil, nil
		case hash:
			if e := s.entry.Load(); e != nil && e.name == name {
				return s, e
			}
		}
	}
}

func (s *slots[V]) put(hash uint64, e *entry[V]) {
	mask := uint64(len(s.all) - 1)
	i := hash >> 1 & mask
	for s.all[i].hash.Load() != 0 {
		i = (i + 1) & mask
	}
	s.all[i].entry.Store(e)
	s.all[i].hash.Store(hash)
}

// Add is the value of a name, and the table's own copy of the name. If there is none, it is made and filled first; nobody finds it
// before that.
func (t *Table[V]) Add(name string, fill func(name string, v *V)) (string, *V) {
	if _, e := t.find(name); e != nil {
		return e.name, &e.value
	}
	s := t.slots.Load()
	if (t.used+1)*4 > len(s.all)*3 {
		s = t.rebuild()
	}
	e := newEntry[V](name)
	fill(e.name, &e.value)
	t.used++
	s.put(t.hash(name), e)
	return e.name, &e.value
}

// Remove takes a name out of the table, and reports whether it was there. Who has its value may go on using it.
func (t *Table[V]) Remove(name string) bool {
	s, _ := t.find(name)
	if s == nil {
		return false
	}
	s.entry.Store(nil)
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
	for i := range old.all {
		if e := old.all[i].entry.Load(); e != nil {
			s.put(old.all[i].hash.Load(), e)
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
		for i := range s.all {
			if e := s.all[i].entry.Load(); e != nil && !yield(e.name, &e.value) {
				return
			}
		}
	}
}
