package meta

import (
	"slices"
	"sync/atomic"

	"apogee/internal/names"
)

// table maps names to values that are never changed in place. Readers take no lock and keep nothing of the name they ask with;
// writers are serialised by the owner's mutex.
type table[T any] struct {
	entries *names.Table[atomic.Pointer[T]]
	size    atomic.Int64
}

func newTable[T any]() *table[T] { return &table[T]{entries: names.New[atomic.Pointer[T]]()} }

func (t *table[T]) get(name string) (*T, bool) {
	p := t.entries.Find(name)
	if p == nil {
		return nil, false
	}
	v := p.Load()
	return v, v != nil
}

// ownLocked is the table's copy of a name that is put next. A value that uses it has its name where it was found, which is where the
// name has just been read.
func (t *table[T]) ownLocked(name string) string {
	own, _ := t.entries.Add(name, func(string, *atomic.Pointer[T]) {})
	return own
}

func (t *table[T]) len() int { return int(t.size.Load()) }

// putLocked needs the owner's mutex.
func (t *table[T]) putLocked(name string, v *T) {
	_, p := t.entries.Add(name, func(_ string, p *atomic.Pointer[T]) { p.Store(v) })
	p.Store(v)
	t.size.Store(int64(t.entries.Len()))
}

// deleteLocked needs the owner's mutex.
func (t *table[T]) deleteLocked(name string) (*T, bool) {
	v, ok := t.get(name)
	if ok {
		t.entries.Remove(name)
		t.size.Store(int64(t.entries.Len()))
	}
	return v, ok
}

// all is every entry, in a map of the caller's own.
func (t *table[T]) all() map[string]*T {
	out := make(map[string]*T, t.len())
	for name, p := range t.entries.All() {
		if v := p.Load(); v != nil {
			out[name] = v
		}
	}
	return out
}

// names is every name in order.
func (t *table[T]) names() []string {
	out := make([]string, 0, t.len())
	for name, p := range t.entries.All() {
		if p.Load() != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
