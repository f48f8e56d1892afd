package meta

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync/atomic"
)

// tableShards bounds what one write copies: a table of 10,000 topics copies about 40 entries for each change.
const tableShards = 256

// table maps names to values that are never changed in place. Readers take no lock and keep nothing of the name they ask with;
// writers are serialised by the owner's mutex and copy one shard per change.
type table[V any] struct {
	seed   maphash.Seed
	shards [tableShards]atomic.Pointer[map[string]V]
	size   atomic.Int64
}

func newTable[V any]() *table[V] { return &table[V]{seed: maphash.MakeSeed()} }

func (t *table[V]) shard(name string) *atomic.Pointer[map[string]V] {
	return &t.shards[maphash.String(t.seed, name)%tableShards]
}

func (t *table[V]) get(name string) (V, bool) {
	m := t.shard(name).Load()
	if m == nil {
		var zero V
		return zero, false
	}
	v, ok := (*m)[name]
	return v, ok
}

func (t *table[V]) len() int { return int(t.size.Load()) }

// putLocked needs the owner's mutex. The table keeps name.
func (t *table[V]) putLocked(name string, v V) {
	s := t.shard(name)
	old := s.Load()
	var next map[string]V
	if old == nil {
		next = make(map[string]V, 1)
	} else {
		next = maps.Clone(*old)
	}
	if _, ok := next[name]; !ok {
		t.size.Add(1)
	}
	next[name] = v
	s.Store(&next)
}

// deleteLocked needs the owner's mutex.
func (t *table[V]) deleteLocked(name string) (V, bool) {
	s := t.shard(name)
	old := s.Load()
	var zero V
	if old == nil {
		return zero, false
	}
	v, ok := (*old)[name]
	if !ok {
		return zero, false
	}
	next := maps.Clone(*old)
	delete(next, name)
	s.Store(&next)
	t.size.Add(-1)
	return v, true
}

// all is every entry, in a map of the caller's own.
func (t *table[V]) all() map[string]V {
	out := make(map[string]V, t.len())
	for i := range t.shards {
		if m := t.shards[i].Load(); m != nil {
			maps.Copy(out, *m)
		}
	}
	return out
}

// names is every name in order.
func (t *table[V]) names() []string {
	out := make([]string, 0, t.len())
	for i := range t.shards {
		if m := t.shards[i].Load(); m != nil {
			out = slices.AppendSeq(out, maps.Keys(*m))
		}
	}
	slices.Sort(out)
	return out
}
