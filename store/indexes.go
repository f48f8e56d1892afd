package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// indexFiles are the files under index and what builds them (Java IndexService).
//
// The index follows the dispatcher, by position in the log: dispatch offers the hashes of a record's keys, and what has not
// been offered, or was lost, is read from the log. So nothing is lost by a crash either: the files that may be damaged are
// deleted, and the index is behind. The builder is a goroutine that lets entries collect for a moment; a query brings the
// index up to date first.
type indexFiles struct {
	s      *Store
	build  bool
	offers *ring[offer]
	pos    atomic.Int64 // the log is indexed up to here
	idle   atomic.Bool  // the builder sleeps and wants to be called
	ping   chan struct{}
	hurry  chan struct{} // do not wait for more to collect

	mu       sync.Mutex // guards all below; held across the writes of entries and the making of files
	files    []*indexFile
	lastName int64 // the highest number that a file has, or that was tried
	resume   int64 // from where to read the log at start: noMark for not known yet
	err      error // the last one of the builder

	active  *indexFile // the newest file, while records are indexed
	entered int        // keys of the record at pos that have their entries

	enterRecordFn func(h *record.Header, rec []byte) error // once, since a method value is an allocation
	syncs         sync.WaitGroup                           // of completed files
	lastSync      chan bool                                // tells whether the newest of them, and all before it, have been synced
}

// offer is what the index needs to know of a record.
type offer struct {
	phys, time int64
	size       int32
	nkeys      int8
	keys       [3]int32
}

const (
	offerCount = 8192
	indexDelay = 100 * time.Millisecond // for entries to collect
	indexShare = 4096                   // records built under one hold of mu
	indexAhead = 32                     // records whose slots are fetched together
	indexRetry = time.Second            // after an error
	// queryBehind is how much of a backlog a query works off before it looks.
	queryBehind = 64 << 20
)

// loadIndex finds the index files; after an unclean exit those newer than checkpoint.indexMsgTimestamp are deleted, as in
// Java: nobody knows what of them is on disk. Unlike there the messages are indexed again from the log, all of them, and of files that end in
// the millisecond of the checkpoint only the first counts as the one that it was written for.
func (s *Store) loadIndex(last exit) error {
	o := s.options()
	x := &indexFiles{
		s: s, build: o.MessageIndexEnable && o.IndexFileWriteEnable, resume: noMark,
		ping: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
	}
	x.enterRecordFn = x.enterRecord
	x.pos.Store(noMark)
	s.index = x
	if x.build {
		x.offers = newRing[offer](offerCount)
	}
	infos, err := s.fs.ReadDir(s.files.index)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return err
	}
	if x.build && s.commit.files.last() != nil && (absent || len(infos) == 0 && s.checkpoint.indexMsgTimestamp.Load() > 0) {
		level := slog.LevelWarn
		if s.checkpoint.indexMsgTimestamp.Load() == 0 { // there may never have been a key
			level = slog.LevelInfo
		}
		s.log.Log(context.Background(), level, "index is missing: messages are indexed again, in the background", "dir", s.files.index)
		if err := s.fs.MkdirAll(s.files.index); err != nil { // one start is enough
			return err
		}
		x.resume = 0
		return nil
	}
	size := indexFileSize(o.MaxHashSlotNum, o.MaxIndexNum)
	ours := slices.ContainsFunc(infos, func(i vfs.Info) bool { return !i.Dir && i.Size == size })
	known := s.checkpoint.indexMsgTimestamp.Load()
	broken, lost, deleted := false, false, false
	for _, info := range infos {
		name := path.Join(s.files.index, info.Name)
		number, err := strconv.ParseInt(info.Name, 10, 64)
		if err == nil && !info.Dir {
			x.lastName = max(x.lastName, number)
			if info.Size == 0 { // a crash between creating and sizing leaves one
				if err := s.fs.Remove(name); err != nil {
					return fmt.Errorf("load index: %w", err)
				}
				continue
			}
		}
		if broken = broken || ours && err == nil && !info.Dir && info.Size != size; broken {
			// Files are in the order of the log: those behind it are made again too.
			if err == nil && !info.Dir {
				to, err := s.quarantine(name)
				if err != nil {
					return fmt.Errorf("load index: %w", err)
				}
				deleted = true
				s.log.Error("index is damaged: file is set aside, and its messages are indexed again", "file", name, "size", info.Size, "moved", to)
			}
			continue
		}
		if err != nil || info.Dir || info.Size != size {
			s.log.Warn("not an index file of this configuration, left alone", "file", name, "size", info.Size)
			continue
		}
		f, err := openIndexFile(s.fs, name, o.MaxHashSlotNum, o.MaxIndexNum)
		if err != nil {
			return fmt.Errorf("load index: %w", err)
		}
		lost = lost || last == uncleanExit && f.head.endTime > known
		if lost || f.head.count <= 1 { // an empty one does not say where the log goes on
			deleted = true
			if err := s.fs.Remove(name); err != nil {
				return fmt.Errorf("load index: %w", err)
			}
			continue
		}
		lost = last == uncleanExit && f.head.endTime == known
		x.files = append(x.files, f)
	}
	switch n := len(x.files); {
	case n > 0 && !deleted:
		x.resume = x.files[n-1].head.endPhys + 1 // in the middle of the last record that has keys
	case n > 0:
		x.resume = x.files[n-1].head.endPhys // some of its keys may have been in the next file
	case deleted || last == uncleanExit: // the name of the first file need not have been on disk
		x.resume = 0
	}
	return nil
}

// replayed tells of a record that recovery gave to the queues: a store without index files begins its index there.
func (x *indexFiles) replayed(phys int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.resume == noMark {
		x.resume = phys
	}
}

// start sets the position: where the index has to be continued, or from, where the log ends now.
func (x *indexFiles) start(from int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	pos := min(max(x.resume, x.s.commit.begin()), from)
	if n := len(x.files); n > 0 && pos == x.files[n-1].head.endPhys+1 {
		pos = x.after(pos - 1)
	}
	x.pos.Store(pos)
}

// after is where the record ends that starts at phys.
func (x *indexFiles) after(phys int64) int64 {
	next, _, err := x.s.walk(phys, x.s.commit.end(), 1, func(*record.Header, []byte) error { return nil })
	if err != nil || next < phys {
		return phys
	}
	return next
}

// position is how far the index is; what is not built is nowhere behind.
func (x *indexFiles) position() int64 {
	if !x.build {
		return noMark
	}
	return x.pos.Load()
}

// offer gives the index a record's keys. Under the right to dispatch.
func (x *indexFiles) offer(e *slip) {
	if !x.build {
		return
	}
	if o := x.offers.next(); o != nil && e.nkeys != tooManyKeys {
		*o = offer{phys: e.phys, time: e.time, size: e.size, nkeys: e.nkeys, keys: e.keys}
		x.offers.push()
	}
}

// publish lets the builder see what has been offered. Under the right to dispatch, before the position that covers it is known.
func (x *indexFiles) publish() {
	if x.build {
		x.offers.publish()
	}
}

// notice tells that there may be records to index. Cheap. Under the right to dispatch.
func (x *indexFiles) notice() {
	if !x.build {
		return
	}
	if x.idle.Load() && x.idle.CompareAndSwap(true, false) {
		signal(x.ping)
	}
	if x.offers.queued() > offerCount/4 { // what does not fit has to be read from the log again
		signal(x.hurry)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (x *indexFiles) loop(quit <-chan struct{}) {
	if !x.build {
		return
	}
	timer := time.NewTimer(indexDelay)
	defer timer.Stop()
	for {
		wait, hurry := indexDelay, x.hurry
		if x.behind() == 0 {
			x.idle.Store(true)
			if x.behind() == 0 {
				select {
				case <-quit:
					return
				case <-x.ping:
				}
			}
			x.idle.Store(false)
		} else if x.failing() {
			wait, hurry = indexRetry, nil
		}
		timer.Reset(wait)
		select {
		case <-quit:
			return
		case <-timer.C:
		case <-hurry:
		}
		for more := true; more; {
			more = x.catchUp()
			select {
			case <-quit:
				return
			default:
			}
		}
	}
}

func (x *indexFiles) failing() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err != nil
}

// behind is how much of the dispatched log is not indexed.
func (x *indexFiles) behind() int64 {
	to := x.s.dispatch.pos.Load()
	if to == noMark || !x.build {
		return 0
	}
	return max(to-x.pos.Load(), 0)
}

// catchUp indexes some records; more tells whether there are further ones and it makes sense to go on.
func (x *indexFiles) catchUp() (more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.catchUpLocked()
}

func (x *indexFiles) catchUpLocked() (more bool) {
	if x.behind() == 0 {
		return false
	}
	from := x.pos.Load()
	err := x.advanceLocked(indexShare)
	if err != nil && x.err == nil {
		x.s.log.Error("index not built, to be tried again", "off", x.pos.Load(), "err", err)
	}
	x.err = err
	return err == nil && x.behind() > 0 && x.pos.Load() != from
}

// errIndexFull says that the next entry needs a new file.
var errIndexFull = errors.New("index file is full")

// advanceLocked indexes about so many records.
func (x *indexFiles) advanceLocked(share int) error {
	for {
		err := x.fillLocked(&share)
		if !errors.Is(err, errIndexFull) {
			return err
		}
		if err := x.rollLocked(); err != nil {
			return err
		}
	}
}

// fillLocked indexes records into the newest file. A fault in that file is an error.
func (x *indexFiles) fillLocked(share *int) (err error) {
	x.active = nil
	if n := len(x.files); n > 0 {
		f := x.files[n-1]
		if err := f.f.hold(); err != nil {
			return err
		}
		defer f.f.release()
		defer f.f.caught(&err, debug.SetPanicOnFault(true))
		defer f.writeHeader()
		x.active = f
	}
	defer x.offers.free()
	to, pos := x.s.dispatch.pos.Load(), x.pos.Load()
	for n := 0; pos < to && *share > 0; n++ {
		if n%indexAhead == 0 && x.active != nil {
			x.active.touch(x.offers.ahead(indexAhead))
		}
		e := x.offers.peek()
		switch {
		case e != nil && e.phys < pos: // read from the log meanwhile
			x.offers.pop()
			continue
		case e != nil && e.phys == pos:
			if pos+int64(e.size) > to {
				return nil
			}
			for _, hash := range e.keys[x.entered:e.nkeys] {
				if err := x.enterLocked(hash, e.phys, e.time); err != nil {
					return err
				}
			}
			x.entered = 0
			pos += int64(e.size)
			x.offers.pop()
			*share--
		default:
			limit := to
			if e != nil {
				limit = min(to, e.phys)
			}
			next, n, err := x.s.walk(pos, limit, *share, x.enterRecordFn)
			x.pos.Store(next)
			if err != nil || next == pos {
				return err
			}
			pos, *share = next, *share-n-1
		}
		x.pos.Store(pos)
	}
	return nil
}

// enterLocked makes one entry of the record at pos.
func (x *indexFiles) enterLocked(hash int32, phys, storeTime int64) error {
	if x.active == nil || x.active.full() {
		return errIndexFull
	}
	if err := x.active.put(indexHash(hash), phys, storeTime); err != nil {
		return err
	}
	x.entered++
	return nil
}

// enterRecord makes the entries of a record that was read from the log; those that were made before an error or the end of a
// file are passed over.
func (x *indexFiles) enterRecord(h *record.Header, _ []byte) error {
	if h.Tran() == record.SysTranRollback {
		return nil
	}
	keys := indexKeys{topic: keyHash(stringView(h.Topic)), words: record.ReadWords(stringView(h.Properties))}
	for n := 0; ; n++ {
		hash, ok := keys.next()
		if !ok {
			break
		}
		if n >= x.entered {
			if err := x.enterLocked(hash, h.PhysicalOffset, h.StoreTimestamp); err != nil {
				return err
			}
		}
	}
	x.entered = 0
	return nil
}

// rollLocked makes the next file. The full one is synced aside; then the checkpoint may count it.
func (x *indexFiles) rollLocked() error {
	s, o := x.s, x.s.options()
	if err := mkdirDurable(s.fs, s.files.index); err != nil {
		return err
	}
	var before *indexFile
	if n := len(x.files); n > 0 {
		before = x.files[n-1]
	}
	// The order of the names is the order of the files, whatever the clock does.
	number := max(indexFileNumber(s.now()), x.lastName+1)
	x.lastName = number
	f, err := createIndexFile(s.fs, s.files.index, number, o.MaxHashSlotNum, o.MaxIndexNum, before)
	if err != nil {
		return fmt.Errorf("create index file: %w", err)
	}
	x.files = append(x.files, f)
	if before != nil {
		end := before.head.endTime
		ahead, done := x.lastSync, make(chan bool, 1)
		x.lastSync = done
		x.syncs.Go(func() {
			err := x.sync(before)
			if err != nil {
				s.log.Error("index file not flushed", "file", before.f.path, "err", err)
			}
			all := (ahead == nil || <-ahead) && err == nil
			if all { // the checkpoint vouches for the files before it too
				s.checkpoint.indexMsgTimestamp.Store(max(end, s.checkpoint.indexMsgTimestamp.Load()))
			}
			done <- all
		})
	}
	return nil
}

// indexFileNumber is the name of a file made now: yyyyMMddHHmmssSSS of the local time.
func indexFileNumber(now time.Time) int64 {
	n := int64(0)
	for _, part := range []struct{ value, width int }{
		{now.Year(), 10000},
		{int(now.Month()), 100},
		{now.Day(), 100},
		{now.Hour(), 100},
		{now.Minute(), 100},
		{now.Second(), 100},
		{now.Nanosecond() / 1e6, 1000},
	} {
		n = n*int64(part.width) + int64(part.value)
	}
	return n
}

// sync makes a file and its name durable.
func (x *indexFiles) sync(f *indexFile) error {
	file, err := f.f.fs.Open(f.f.path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close(), f.f.fs.SyncDir(path.Dir(f.f.path)))
}

// found is what a look-up in the index gives: log offsets, and how far the newest file goes.
type found struct {
	phys     []int64
	lastTime int64
	lastPhys int64
}

// query collects the log offsets of records whose keys have a hash, at most so many, the newest first (IndexService.queryOffset).
func (x *indexFiles) query(hash int32, most int, begin, end int64) (found, error) {
	var r found
	for x.behind() > 0 && x.behind() <= queryBehind && x.catchUp() {
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	hash = indexHash(hash)
	for i := len(x.files) - 1; i >= 0; i-- {
		f := x.files[i]
		if i == len(x.files)-1 {
			r.lastTime, r.lastPhys = f.head.endTime, f.head.endPhys
		}
		if f.covers(begin, end) {
			var err error
			if r.phys, err = f.find(r.phys, hash, most, begin, end); err != nil {
				return r, fmt.Errorf("read index: %w", err)
			}
		}
		if f.head.beginTime < begin || len(r.phys) >= most {
			break
		}
	}
	return r, nil
}
