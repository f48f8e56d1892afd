package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Folders of the two kinds of queues (spec: store.md 1).
const (
	simpleDir = "consumequeue"
	batchDir  = "batchconsumequeue"
)

// Sizes of a queue entry (spec: store.md 4.1 and 4.4).
const (
	simpleUnit = EntrySize
	batchUnit  = BatchEntrySize
)

// Queue is one consume queue: the entries from Min up to, not including, Max can be read.
type Queue struct {
	Topic string `json:"topic"`
	ID    int32  `json:"queueId"`
	Batch bool   `json:"batch,omitempty"` // a BatchCQ queue; an entry there holds several messages
	Min   int64  `json:"min"`
	Max   int64  `json:"max"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Fault string `json:"fault,omitempty"` // why Min and Max could not be told

	known int64 // end of the last record that the queue points at; for a batch queue its start
}

// Known is the end of the furthest record that the queue points at, 0 if it points at none; for a batch queue its start.
func (q *Queue) Known() int64 { return q.known }

// Queues lists all consume queues, by topic and number.
func (s *Store) Queues() ([]Queue, error) {
	var out []Queue
	for _, kind := range []string{simpleDir, batchDir} {
		topics, err := fs.ReadDir(s.root, kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, t := range topics {
			if !t.IsDir() {
				continue
			}
			ids, err := fs.ReadDir(s.root, path.Join(kind, t.Name()))
			if err != nil {
				return nil, err
			}
			for _, d := range ids {
				id, err := strconv.ParseInt(d.Name(), 10, 32)
				if err != nil || id < 0 || !d.IsDir() {
					continue
				}
				out = append(out, s.queue(t.Name(), int32(id), kind == batchDir))
			}
		}
	}
	slices.SortFunc(out, func(a, b Queue) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out, nil
}

func (s *Store) queue(topic string, id int32, batch bool) Queue {
	q := Queue{Topic: topic, ID: id, Batch: batch}
	r, err := s.entries(&q)
	if err != nil {
		q.Fault = err.Error()
		return q
	}
	defer r.files.close()
	q.Files = len(r.files.files)
	for _, f := range r.files.files {
		q.Bytes += f.len
	}
	if err := r.bounds(&q, s.log.min()); err != nil {
		q.Fault = err.Error()
	}
	return q
}

// entryReader reads entries by their number.
type entryReader struct {
	files *segments
	unit  int64
	batch bool
}

func (s *Store) entries(q *Queue) (*entryReader, error) {
	r := &entryReader{unit: simpleUnit, batch: q.Batch}
	kind := simpleDir
	if q.Batch {
		kind, r.unit = batchDir, batchUnit
	}
	var err error
	r.files, err = readSegments(s.root, path.Join(kind, q.Topic, strconv.Itoa(int(q.ID))))
	return r, err
}

// entry reads entry number n; ok is false where nothing was written.
func (r *entryReader) entry(n int64) (e Entry, ok bool, err error) {
	var b [batchUnit]byte
	if err := r.files.read(b[:r.unit], n*r.unit); err != nil {
		return Entry{}, false, err
	}
	if r.batch {
		e, ok = ParseBatchEntry(b[:])
		return e, ok, nil
	}
	e, ok = ParseEntry(b[:])
	e.QueueOffset = n
	return e, ok, nil
}

// bounds finds the readable part of the queue: entries of records that are still in the log. Entries are written in order, so both
// ends are found by halving.
func (r *entryReader) bounds(q *Queue, logMin int64) error {
	first, last := r.files.min()/r.unit, r.files.max()/r.unit
	var fault error
	search := func(from, to int64, pred func(Entry, bool) bool) int64 {
		return from + int64(sort.Search(int(to-from), func(i int) bool {
			e, ok, err := r.entry(from + int64(i))
			if err != nil {
				fault = err
				return true
			}
			return pred(e, ok)
		}))
	}
	end := search(first, last, func(_ Entry, ok bool) bool { return !ok })
	begin := search(first, end, func(e Entry, _ bool) bool { return !e.Blank() && e.PhysicalOffset >= logMin })
	q.Min, q.Max = begin, end
	if fault != nil || end == first {
		return fault
	}
	tail, _, err := r.entry(end - 1)
	if err != nil {
		return err
	}
	if !tail.Blank() {
		q.known = tail.PhysicalOffset
		if !r.batch {
			q.known += int64(tail.Size)
		}
	}
	if r.batch {
		q.Max = tail.QueueOffset + int64(tail.Count)
		q.Min = q.Max
		if begin < end {
			head, _, err := r.entry(begin)
			if err != nil {
				return err
			}
			q.Min = head.QueueOffset
		}
	}
	return nil
}

// EachEntry calls f for the entries of a queue from a queue offset on, in order, until f returns false.
func (s *Store) EachEntry(q Queue, from int64, f func(Entry) bool) error {
	r, err := s.entries(&q)
	if err != nil {
		return err
	}
	defer r.files.close()
	at := max(from, q.Min)
	if q.Batch {
		at = r.files.min() / r.unit // entries are few; those before from are skipped one by one
	}
	for end := r.files.max() / r.unit; at < end; at++ {
		e, ok, err := r.entry(at)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if e.Blank() || e.QueueOffset+int64(e.Count) <= from || e.QueueOffset < q.Min {
			continue
		}
		if !f(e) {
			return nil
		}
	}
	return nil
}

// RecordAt reads the record that an entry points at.
func (s *Store) RecordAt(e Entry) (*Record, error) {
	rec, err := s.Reader(e.PhysicalOffset).Next()
	if errors.Is(err, ErrEnd) {
		return nil, fmt.Errorf("no record starts at %d", e.PhysicalOffset)
	}
	return rec, err
}
