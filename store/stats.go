package store

import (
	"sync/atomic"

	"apogee/store/record"
)

// counters are counted where things happen; puts are counted by the commit log, under its lock.
type counters struct {
	putFailed atomic.Int64

	getFound    atomic.Int64 // reads that gave messages
	getMiss     atomic.Int64
	getMessages atomic.Int64
	getBytes    atomic.Int64
}

// Stats are the numbers of runtime info. Totals count from the start.
type Stats struct {
	MinPhysical, MaxPhysical, Flushed, DispatchBehind int64
	EarliestStoreTime                                 int64 // of the first message in the log, -1 without any
	DiskUsedRatio                                     float64
	PutTotal, PutBytes, PutFailed                     int64
	GetFound, GetMiss, GetMessages, GetBytes          int64
	Writable, Readable                                bool
}

// Stats collects the present numbers.
func (s *Store) Stats() Stats {
	writable, _ := s.Writable()
	st := Stats{
		MinPhysical:       s.commit.begin(),
		MaxPhysical:       s.commit.end(),
		Flushed:           s.flush.flushed.Load(),
		DispatchBehind:    s.dispatch.behind(),
		EarliestStoreTime: s.commit.earliestStoreTime(),
		PutTotal:          s.commit.putTotal.Load(),
		PutBytes:          s.commit.putBytes.Load(),
		PutFailed:         s.stats.putFailed.Load(),
		GetFound:          s.stats.getFound.Load(),
		GetMiss:           s.stats.getMiss.Load(),
		GetMessages:       s.stats.getMessages.Load(),
		GetBytes:          s.stats.getBytes.Load(),
		Writable:          writable,
		Readable:          s.flags.readable(),
	}
	if u, err := s.fs.DiskUsage(s.options().CommitLogDir); err == nil {
		st.DiskUsedRatio = u.Ratio()
	}
	return st
}

// IndexBehind is how much of the log the index has not got yet, in bytes.
func (s *Store) IndexBehind() int64 {
	if s.index == nil {
		return 0
	}
	return s.index.behind()
}

// earliestStoreTime is the store time of the first record, -1 if there is none.
func (l *commitLog) earliestStoreTime() int64 {
	first := int64(-1)
	b, f, err := l.holdRest(l.begin(), l.end())
	if err != nil || f == nil {
		return first
	}
	defer f.release()
	_ = f.guard(func() error { // a fault counts as no record
		var h record.Header
		if record.Parse(b, &h) == nil {
			first = h.StoreTimestamp
		}
		return nil
	})
	return first
}
