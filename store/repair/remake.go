package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/verify"
)

// remakeQueues writes the damaged queues of which messages are lost. The others are left to the store's recovery, which puts an entry behind
// the one before, whatever its record says: all offsets behind a lost message would go down by one.
func (r *run) remakeQueues() error {
	for _, k := range r.sortedQueues() {
		q := r.queues[k]
		if !q.damaged || !q.gaps || r.kind(k.topic) == store.BatchQueue {
			continue
		}
		if err := r.remakeQueue(k); err != nil {
			return fmt.Errorf("make queue %s/%d: %w", k.topic, k.id, err)
		}
	}
	return nil
}

// remade is a queue that is being written.
type remade struct {
	r    *run
	dir  string
	size int64
	base int64 // of buf
	buf  []byte
	next int64    // the unit that follows
	last int64    // queue offset of the last record
	end  int64    // of that record in the log
	gone []extent // what stands for damaged parts of the log behind it
}

func (r *run) remakeQueue(k queueKey) error {
	q := &remade{r: r, dir: r.queueDir(k), size: r.s.MappedFileSizeConsumeQueue, next: -1}
	if err := r.fs.MkdirAll(q.dir); err != nil {
		return err
	}
	var failed error
	err := r.eachRecord(func(off int64, h *record.Header) {
		if h.Wrapped() {
			q.gone = append(q.gone, extent{off, int64(h.Size)})
			return
		}
		r.eachEntryOf(h, func(topic string, id int32, unit int64) {
			if failed == nil && topic == k.topic && id == k.id {
				words := record.ReadWords(string(h.Properties))
				tags := record.TagsCode(string(h.Topic), words.Tags, words.Delay, h.StoreTimestamp, r.delays)
				failed = q.put(unit, off, int32(h.Size), tags)
			}
		})
	})
	if err := errors.Join(err, failed, q.flush()); err != nil {
		return err
	}
	for d := q.dir; len(d) >= len(r.root); d = path.Dir(d) {
		if err := r.fs.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// eachEntryOf calls f for the simple queues that a record has an entry in.
func (r *run) eachEntryOf(h *record.Header, f func(topic string, id int32, unit int64)) {
	if t := h.Tran(); t == record.SysTranPrepared || t == record.SysTranRollback || h.QueueID < 0 {
		return
	}
	f(string(h.Topic), h.QueueID, h.QueueOffset)
	if words := record.ReadWords(string(h.Properties)); words.Multi && multiDispatched(r.s, string(h.Topic)) {
		eachMulti(h, func(name string, unit int64) { f(name, 0, unit) })
	}
}

// put writes an entry at its offset. An offset that was had before begins the queue anew.
func (q *remade) put(unit, phys int64, size int32, tags int64) error {
	if q.next < 0 || unit < q.last {
		if q.next >= 0 {
			if err := q.r.quarantineFolders(q.dir); err != nil {
				return err
			}
		}
		q.base, q.next, q.end = unit*simpleUnit/q.size*q.size, unit*simpleUnit/q.size*q.size/simpleUnit, 0
		q.buf = make([]byte, q.size)
	}
	q.last = unit
	for q.next < unit && q.end == 0 { // what is before the first entry is fill (spec: store.md 4.1)
		if err := q.add(0, blankSize, 0); err != nil {
			return err
		}
	}
	if err := q.bridge(unit, phys); err != nil {
		return err
	}
	q.end, q.gone = phys+int64(size), q.gone[:0]
	return q.add(phys, size, tags)
}

// bridge gives lost messages entries: of the records that wrap the damaged part of the log that they were in. Where there are too few, each
// has one byte of it and the last one the rest, as the store does when it passes such a part; where no part is known the entry goes to the
// next place, as in the store.
func (q *remade) bridge(unit, phys int64) error {
	lost := unit - q.next
	if lost <= 0 {
		return nil
	}
	if int64(len(q.gone)) >= lost {
		for _, e := range q.gone[:lost] {
			if err := q.add(e.from, int32(e.size), 0); err != nil {
				return err
			}
		}
		return nil
	}
	for _, h := range q.r.log.holes {
		if h.unused || h.from < q.end || h.to > phys || h.to-h.from < lost {
			continue
		}
		for n := range lost {
			size := int64(1)
			if n == lost-1 {
				size = min(h.to-h.from-n, blankSize-1)
			}
			if err := q.add(h.from+n, int32(size), 0); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func (q *remade) add(phys int64, size int32, tags int64) error {
	if q.next*simpleUnit == q.base+q.size {
		if err := q.flush(); err != nil {
			return err
		}
		q.base += q.size
		clear(q.buf)
	}
	b := q.buf[q.next*simpleUnit-q.base:]
	binary.BigEndian.PutUint64(b, uint64(phys))
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	binary.BigEndian.PutUint64(b[12:], uint64(tags))
	q.next++
	return nil
}

// flush writes the present file as a whole.
func (q *remade) flush() error {
	if q.next < 0 {
		return nil
	}
	return q.r.replace(path.Join(q.dir, fmt.Sprintf("%020d", q.base)), q.buf)
}

// eachRecord calls f for all records of the log, in order.
func (r *run) eachRecord(f func(off int64, h *record.Header)) error {
	for p, err := range r.pieces() {
		if err != nil {
			return err
		}
		for i := range p.Records {
			f(p.Records[i].Off, &p.Records[i].Head)
		}
		for _, found := range p.Findings {
			if found.Kind == verify.Unreadable {
				return fmt.Errorf("read %s: %s", found.File, found.Text)
			}
		}
	}
	return nil
}

// readDelays reads messageDelayLevel, of which the entries of the schedule topic depend: "1s 5s ...", in ms.
func readDelays(text string) []int64 {
	units := map[byte]int64{'s': 1000, 'm': 60_000, 'h': 3600_000, 'd': 86400_000}
	var out []int64
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] != ' ' {
			continue
		}
		if word := text[start:i]; word != "" {
			n, err := strconv.ParseInt(word[:len(word)-1], 10, 64)
			if err != nil || units[word[len(word)-1]] == 0 {
				return nil // the store refuses it
			}
			out = append(out, n*units[word[len(word)-1]])
		}
		start = i + 1
	}
	return out
}
