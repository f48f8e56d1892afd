package timer

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"path"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// recover brings wheel and log to where they agree with each other and with the commit log (TimerMessageStore.recover; spec: store.md
// 12.7). The tail of the log is read, and what the wheel says of it made true; so is all of the log that slots ahead of the hand lie in,
// which Java takes on trust. A log that is damaged where it should not be is given up, and made anew from the timer topic.
func (s *Service) recover() error {
	o := &s.opts
	cp, err := loadCheckpoint(o.FS, o.Dir)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing:
	case errors.Is(err, errCheckpoint):
		moved, asideErr := s.setAside(path.Join("config", "timercheck"))
		o.Log.Error("timer checkpoint is damaged and set aside; messages of the last days may be delivered again", "err", err, "moved", moved)
		if missing = true; asideErr != nil {
			return asideErr
		}
	case err != nil:
		return err
	}
	s.write = s.wheel.floor(s.now())
	if cp.read > s.write+maxAhead {
		o.Log.Error("timer checkpoint is of another time; messages of the last days may be delivered again", "read", cp.read)
		cp.read = 0
	}
	s.read = max(s.wheel.floor(cp.read), s.write-(slotCount-blankSlots-o.RollWindow)*o.Precision)
	s.saver.last = cp
	s.next = math.MaxInt64
	if err := s.metrics.load(o.FS, o.Dir, o.Log); err != nil {
		o.Log.Error("timer metrics start anew", "err", err)
	}
	trusted, err := s.loadWheel()
	if err != nil {
		return err
	}
	if s.log, err = openLog(o.FS, o.Dir, o.LogFileSize); err != nil && !errors.Is(err, errNoUnit) {
		return err
	}
	if err == nil {
		err = s.recoverLog(&cp, missing, trusted)
	}
	if errors.Is(err, errNoUnit) || errors.Is(err, errPassed) {
		moved, why := "", err
		if errors.Is(err, errNoUnit) {
			if err = s.log.close(); err == nil {
				moved, err = s.setAside(logDir)
			}
			if err != nil {
				return err
			}
		}
		o.Log.Error("timer log cannot be used; it is made anew from the timer topic", "err", why, "moved", moved)
		err = s.rebuild(s.read, s.wheel.floor(cp.read), cp.queue)
	}
	s.readTime.Store(s.read)
	s.first.Store(s.next)
	return err
}

// maxAhead is how far the hand may be ahead of the clock, which somebody may have set back.
const maxAhead = 3600 * 1000

// loadWheel loads the wheel; false if it is missing or says nothing.
func (s *Service) loadWheel() (trusted bool, err error) {
	o := &s.opts
	err = s.wheel.load(o.FS, o.Dir)
	switch {
	case errors.Is(err, errWheel):
		moved, asideErr := s.setAside(wheelName)
		o.Log.Error("timer wheel is damaged; it is set aside, and made anew from the timer log", "err", err, "moved", moved)
		s.wheel.pages = [pageCount]*[pageSize]byte{}
		return false, asideErr
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("timer wheel: %w", err)
	}
	return !snapshots(o.FS, o.Dir), nil
}

// setAside keeps a damaged file or directory for whoever wants to look at it.
func (s *Service) setAside(name string) (string, error) {
	o := &s.opts
	if _, err := o.FS.Stat(path.Join(o.Dir, name)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return vfs.Quarantine(o.FS, o.Dir, name, o.Now())
}

// recoverLog makes the wheel agree with the log, and finds where to read the timer topic on.
func (s *Service) recoverLog(cp *checkpoint, missing, trusted bool) error {
	n, err := s.scanAll(cp, trusted)
	if err != nil {
		return err
	}
	if err := s.log.cut(n.end); err != nil {
		return err
	}
	s.applyChains(n.chains)
	s.metrics.revise(n.topics)
	s.findNext()
	return s.resume(cp, missing, n)
}

// scan is one pass over the log.
type scan struct {
	start, end int64
	chains     map[int64]*slot // what slots from read on really have
	topics     map[int32]int64 // messages by the hash of their topic
	last       unit            // with a message that is there
	found      bool            // there is a last
	cutOff     bool            // it ends at a message that is not in the commit log any more
	orphans    bool            // a chain begins in a file that is not there
}

// errPassed says that the broker was down for so long that there is no slot any more for what became due first.
var errPassed = errors.New("slots that were not delivered are further behind than the wheel reaches")

// errEarlier says that a scan has to begin further ahead.
var errEarlier = errors.New("the chain of a slot begins earlier in the timer log")

// scanAll scans as much of the log as is needed.
func (s *Service) scanAll(cp *checkpoint, trusted bool) (*scan, error) {
	begin := s.log.begin()
	start, orphans := begin, begin > 0 && !trusted
	if trusted {
		start = max(cp.log-s.log.size, begin)
		if at, ok := s.wheel.next(cp.read); ok && cp.read > 0 && at < s.read {
			return nil, errPassed
		}
		s.wheel.each(s.read, func(_ int64, at slot) bool {
			orphans = orphans || at.first < begin
			start = max(min(start, at.first), begin)
			return true
		})
		start -= (start - begin) % s.log.size
	}
	limit := int64(math.MaxInt64)
	n, err := s.scan(start, limit, cp, trusted)
	if errors.Is(err, errEarlier) { // or, from the beginning, the wheel does not belong to the log
		start, trusted = begin, false
		n, err = s.scan(start, limit, cp, trusted)
	}
	if err != nil {
		return nil, err
	}
	if limit, err = s.tail(n); err == nil && limit < n.end {
		n, err = s.scan(start, limit, cp, trusted)
	}
	if err == nil && (orphans || n.orphans) {
		err = s.checkBegin()
	}
	if err != nil {
		return nil, err
	}
	if n.end < cp.log && !n.cutOff {
		return nil, fmt.Errorf("%w at %d, and the checkpoint says %d", errNoUnit, n.end, cp.log)
	}
	return n, nil
}

// tail is where the log ends when the units at its end are left out whose messages were lost and have been replaced by others.
func (s *Service) tail(n *scan) (int64, error) {
	begin, _, _ := s.opts.Ends()
	end := n.end
	for pos := s.before(end); pos >= n.start; pos = s.before(pos) {
		var u unit
		if err := s.log.read(pos, &u); err != nil {
			return end, err
		}
		it := item{u.phys, u.entered, u.size, u.magic}
		_, _, release, err := s.message(&it)
		if err == nil {
			release()
			return end, nil
		}
		if u.phys < begin {
			return end, nil
		}
		if store.Scarce(err) { // it is not lost
			return end, err
		}
		end = pos
	}
	return end, nil
}

// before is the position of the unit that ends at a position, or that is the last of the file before. It may be ahead of the log.
func (s *Service) before(pos int64) int64 {
	if pos%s.log.size == 0 {
		return pos - s.log.size + (s.log.size-blankSize)/unitSize*unitSize - unitSize
	}
	return pos - unitSize
}

// checkBegin finds out whether the units ahead of the log's first file have gone with their messages. If there are older messages in the
// timer topic than those that have units, they have not.
func (s *Service) checkBegin() error {
	var u unit
	if err := s.log.read(s.log.begin(), &u); err != nil {
		return err
	}
	rec, release, err := s.opts.Store.View(u.phys)
	if err != nil {
		if begin, _, _ := s.opts.Ends(); u.phys < begin {
			return nil
		}
		return fmt.Errorf("%w whose message is there: %w", errNoUnit, err)
	}
	defer release()
	if off := record.QueueOffsetOf(rec); s.opts.Store.MinOffset(Topic, 0) < off {
		return fmt.Errorf("%w for messages ahead of %d", errNoUnit, off)
	}
	return nil
}

// scan reads units from a file's start on, to the first that is none.
func (s *Service) scan(start, limit int64, cp *checkpoint, trusted bool) (*scan, error) {
	n := &scan{start: start, chains: make(map[int64]*slot), topics: make(map[int32]int64)}
	_, logEnd, _ := s.opts.Ends()
	pos := start
	for s.log.file(pos) != nil {
		var u unit
		err := s.log.read(pos, &u)
		if room := s.log.size - pos%s.log.size; errors.Is(err, errBlank) || room < unitSize {
			pos += room
			continue
		}
		if errors.Is(err, errNoUnit) {
			break
		}
		if err != nil {
			return nil, err
		}
		if u.phys >= logEnd || pos >= limit {
			n.cutOff = true
			break
		}
		if err := s.scanUnit(n, pos, &u, cp, trusted); err != nil {
			return nil, err
		}
		n.last, n.found = u, true
		pos += unitSize
	}
	n.end = pos
	return n, nil
}

// scanUnit chains a unit to those before it.
func (s *Service) scanUnit(n *scan, pos int64, u *unit, cp *checkpoint, trusted bool) error {
	at := s.wheel.floor(u.time())
	if at < s.read {
		if cp.read > 0 && at >= s.wheel.floor(cp.read) {
			return errPassed
		}
		return nil
	}
	if trusted && pos < cp.log { // the wheel was written before the checkpoint was
		if known, ok := s.wheel.get(at); !ok || known.last < pos {
			return errEarlier
		}
	}
	num := int32(1)
	if u.magic&magicDelete != 0 {
		num = -1
	}
	n.topics[u.topic] += int64(num)
	n.orphans = n.orphans || u.prev >= 0 && u.prev < s.log.begin()
	c := n.chains[at]
	switch {
	case c == nil && u.prev >= s.log.begin() && u.prev < n.start:
		return errEarlier
	case c == nil && u.prev >= n.start, c != nil && u.prev != c.last:
		return fmt.Errorf("%w at %d that belongs to the chain of its slot", errNoUnit, pos)
	case c == nil:
		n.chains[at] = &slot{first: pos, last: pos, num: num}
	default:
		c.last, c.num = pos, c.num+num
	}
	return nil
}

// applyChains makes the wheel say what the log says.
func (s *Service) applyChains(chains map[int64]*slot) {
	var gone []int64
	s.wheel.each(s.read, func(at int64, _ slot) bool {
		if chains[at] == nil {
			gone = append(gone, at)
		}
		return true
	})
	for _, at := range gone {
		s.wheel.drop(at)
	}
	for at, c := range chains {
		if known, ok := s.wheel.get(at); !ok || known != *c {
			s.wheel.put(at, *c)
		}
	}
	if len(s.wheel.dirty) > 0 {
		s.changed()
	}
}

// resume finds the queue offset of the next message to enter: behind the last that has a unit. Java may have delivered messages at once
// and entered later ones in the meantime, so nothing behind its checkpoint counts as done; what has a unit is not entered again though.
func (s *Service) resume(cp *checkpoint, missing bool, n *scan) error {
	next := min(cp.queue, cp.master)
	if n.found {
		rec, release, err := s.opts.Store.View(n.last.phys)
		switch {
		case err == nil:
			behind := record.QueueOffsetOf(rec) + 1
			release()
			if missing || n.end < cp.log && behind < next { // units were lost with their messages
				next = behind
			}
			if err := s.noteEntered(next, behind); err != nil {
				return err
			}
		case missing:
			return fmt.Errorf("%w whose message is there: %v", errNoUnit, err)
		}
	}
	least, most := s.opts.Store.MinOffset(Topic, 0), s.opts.Store.MaxOffset(Topic, 0)
	if next < least || next > most {
		corrected := min(max(next, least, 0), max(least, most, 0))
		if corrected != next {
			s.opts.Log.Warn("timer is outside of its queue", "off", next, "corrected", corrected)
		}
		next = corrected
	}
	s.queueOffset.Store(next)
	s.repeat.catchUp = most
	return nil
}

// noteEntered collects which messages from a queue offset on have units.
func (s *Service) noteEntered(from, until int64) error {
	if from >= until {
		return nil
	}
	s.req = store.GetRequest{Topic: Topic, Offset: from, MaxCount: 1}
	s.opts.Store.Get(&s.req, &s.res)
	defer s.res.Release()
	if s.res.Status != store.Found {
		return nil
	}
	first := record.PhysicalOf(s.res.Regions[0])
	s.repeat.entered, s.repeat.until = make(map[int64]bool), until
	for pos := s.before(s.log.end); pos >= s.log.begin(); pos = s.before(pos) {
		var u unit
		if err := s.log.read(pos, &u); err != nil {
			return err
		}
		if u.phys < first {
			break
		}
		s.repeat.entered[u.phys] = true
	}
	return nil
}

// rebuild gives wheel and log up and has the timer topic entered anew. What was delivered before is left out as far as that is known:
// slots before done, of messages before the offset until, and what was rolled. What is before read is delivered at once.
func (s *Service) rebuild(read, done, until int64) error {
	if s.flushing { // files are not closed while they are being synced
		s.flushed(<-s.saver.results)
	}
	if err := s.log.clear(); err != nil {
		return err
	}
	s.mu.Lock()
	s.wheel.reset()
	s.mu.Unlock()
	s.metrics.reset()
	s.due, s.read, s.next = nil, read, math.MaxInt64
	s.readTime.Store(done)
	begin := max(0, s.opts.Store.MinOffset(Topic, 0))
	s.repeat = repeat{
		until: until, read: done, catchUp: s.opts.Store.MaxOffset(Topic, 0),
		search: begin, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, rolled: make(map[origin]int), cancels: make(map[string]int64),
	}
	if until == 0 {
		s.repeat.read = 0
	}
	s.queueOffset.Store(begin)
	s.changed()
	return nil
}
