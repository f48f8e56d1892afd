package hold

// Taken is what a [Table.Take] found.
type Taken uint8

const (
	TakenNow Taken = iota // it was parked, and is in the caller's list
	NotYet                // it is on its way into the table: its Ready is still to be asked
	Over                  // it has been woken before
)

// Woken are entries that were taken, in that order. The zero value is empty.
type Woken struct{ list chain }

// Prepare makes an entry one that Take finds on its way into the table. Who uses Take calls it before Park, and before anybody can find
// the entry.
func (e *Entry) Prepare() { e.shard = nil }

// Take takes one parked entry out, for w to wake with Arrived. The caller knows it from a list of its own, in which it stays until its Wake:
// that makes who is woken the caller's choice, while deadlines, closed connections and the waking itself stay the table's.
func (t *Table) Take(e *Entry, w *Woken) Taken {
	s := t.shard(e.Topic, e.Queue)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.shard == nil:
		return NotYet
	case e.queue == nil:
		return Over
	}
	t.removeLocked(s, e)
	w.list.add(e, Arrived)
	return TakenNow
}

// Wake wakes what was taken. It blocks no longer than Arrive; the caller holds no lock that a Wake of an entry needs.
func (t *Table) Wake(w *Woken) {
	t.put(w.list)
	w.list = chain{}
}
