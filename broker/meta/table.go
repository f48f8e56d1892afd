package meta

import (
	"slices"
	"sync/atomic"

	"apogee/internal/names"
)

// table maps names to values that are never changed in place. Readers take no lock and keep nothing of the name they ask with;
// writers are serialised by the owner's mutex. More is what hangs on each name besides, for the owner.
type table[T, More any] struct {
	entries *names.Table[entryOf[T, More]]
	size    atomic.Int64
}

type entryOf[T, More any] struct {
	value atomic.Pointer[T]
	more  More
}

func newTable[T, More any]() *table[T, More] {
	return &table[T, More]{entries: names.New[entryOf[T, More]]()}
}

func (t *table[T, More]) get(name string) (*T, bool) {
	e := t.entries.Find(name)
	if e == nil {
		return nil, false
	}
	v := e.value.Load()
	return v, v != nil
}

// ownLocked is the table's copy of a name that is put next. A value that uses it has its name where it was found, which is where the
// name has just been read.
func (t *table[T, More]) ownLocked(name string) string {
	own, _ := t.entries.Add(name, func(string, *entryOf[T, More]) {})
	return own
}

func (t *table[T, More]) len() int { return int(t.size.Load()) }

// moreLocked is what hangs on a name, which need not have a value yet: nobody finds it before putLocked then.
func (t *table[T, More]) moreLocked(name string) *More {
	_, e := t.entries.Add(name, func(string, *entryOf[T, More]) {})
	return &e.more
}

// putLocked needs the owner's mutex.
func (t *table[T, More]) putLocked(name string, v *T) {
	_, e := t.entries.Add(name, func(_ string, e *entryOf[T, More]) { e.value.Store(v) })
	e.value.Store(v)
	t.size.Store(int64(t.entries.Len()))
}

// deleteLocked needs the owner's mutex.
func (t *table[T, More]) deleteLocked(name string) (*T, bool) {
	v, ok := t.get(name)
	if ok {
		t.entries.Remove(name)
		t.size.Store(int64(t.entries.Len()))
	}
	return v, ok
}

// all is every entry, in a map of the caller's own.
func (t *table[T, More]) all() map[string]*T {
	out := make(map[string]*T, t.len())
	for name, e := range t.entries.All() {
		if v := e.value.Load(); v != nil {
			out[name] = v
		}
	}
	return out
}

// names is every name in order.
func (t *table[T, More]) names() []string {
	out := make([]string, 0, t.len())
	for name, e := range t.entries.All() {
		if e.value.Load() != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
