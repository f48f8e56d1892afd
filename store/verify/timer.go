package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"apogee/store/inspect"
	"apogee/store/record"
)

// Names of the timer's files (docs/format/timer.md).
const (
	timerLogDir = "timerlog"
	wheelFile   = "timerwheel"
	timerCheck  = "config/timercheck"
	timerTopic  = "rmq_sys_wheel_timer"
)

// timers is the check of timer log and wheel.
type timers struct {
	r      *run
	cp     inspect.TimerCheckpoint
	there  bool // there is a checkpoint
	files  []segment
	begin  int64
	end    int64
	chains map[int64]*chain // by slot time in units of the precision
	log    windowed         // of the commit log
}

// chain is what the timer log says of one slot.
type chain struct {
	first, last int64
	num         int32
}

// checkTimer reads timer log and wheel.
func (r *run) checkTimer() error {
	t := &timers{r: r, chains: map[int64]*chain{}}
	if err := t.readCheckpoint(); err != nil {
		return err
	}
	var err error
	if t.files, err = r.segments(r.Root, timerLogDir, timerLogDir, TimerFile); err != nil {
		r.unreadable(timerLogDir, -1, err)
		return nil
	}
	if len(t.files) > 0 {
		t.begin = t.files[0].base
		t.end = t.begin
		if err := t.scan(); err != nil {
			return err
		}
	}
	t.log.close()
	t.checkEnds()
	return t.checkWheel()
}

func (t *timers) bad(kind Kind, level Level, file string, at int64, format string, args ...any) {
	t.r.report(Finding{Kind: kind, Level: level, File: file, At: at, Text: fmt.Sprintf(format, args...)})
}

func (t *timers) readCheckpoint() error {
	r := t.r
	b, err := readLimited(r.Root, timerCheck, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.unreadable(timerCheck, -1, err)
		return nil
	}
	r.res.ConfigFiles++
	cp, err := inspect.ParseTimerCheckpoint(b)
	if err != nil {
		t.bad(TimerCheckFile, Damage, timerCheck, -1, "%v; messages of the last days may be delivered again", err)
		return nil
	}
	if len(b) != checkpointSize {
		t.bad(TimerCheckFile, Recoverable, timerCheck, -1, "has %d bytes, not %d", len(b), checkpointSize)
	}
	t.cp, t.there = *cp, true
	return nil
}

// scan reads the timer log to its end.
func (t *timers) scan() error {
	for i, seg := range t.files {
		w := windowed{fsys: t.r.Root, name: path.Join(timerLogDir, seg.name), size: seg.size}
		more := t.scanFile(&w, seg, i == len(t.files)-1)
		w.close()
		if err := t.r.ctx.Err(); err != nil || !more {
			return err
		}
	}
	return nil
}

// scanFile reads one file; false ends the log.
func (t *timers) scanFile(w *windowed, seg segment, last bool) bool {
	for pos := int64(0); pos+inspect.TimerUnitSize <= seg.size; pos += inspect.TimerUnitSize {
		b, err := w.get(pos, inspect.TimerUnitSize)
		if err != nil {
			t.r.unreadable(w.name, pos, err)
			return false
		}
		u, ok, end := inspect.ParseTimerUnit(b)
		if end {
			break
		}
		if !ok {
			next := t.nextUnit(w, seg, pos)
			if next < 0 && last {
				return false
			}
			if t.r.Live && next < 0 {
				return false
			}
			if next < 0 {
				t.bad(TimerUnit, Damage, w.name, pos, "the rest of the file holds no units, and the log goes on in the next file")
				break
			}
			t.bad(TimerUnit, Damage, w.name, pos, "%d bytes are no unit, and units follow: Apogee makes the timer log anew from the timer topic, a Java broker loses them", next-pos)
			pos = next - inspect.TimerUnitSize
			continue
		}
		u.Position = seg.base + pos
		t.unit(&u, w.name, pos)
		t.end = seg.base + pos + inspect.TimerUnitSize
	}
	return true
}

// nextUnit is where the next unit stands, -1 if there is none within one read.
func (t *timers) nextUnit(w *windowed, seg segment, from int64) int64 {
	for pos := from + inspect.TimerUnitSize; pos+inspect.TimerUnitSize <= min(seg.size, from+256<<10); pos += inspect.TimerUnitSize {
		b, err := w.get(pos, inspect.TimerUnitSize)
		if err != nil {
			return -1
		}
		if _, ok, end := inspect.ParseTimerUnit(b); ok {
			return pos
		} else if end {
			return -1
		}
	}
	return -1
}

// unit looks at one unit, and links it into the chain of its slot.
func (t *timers) unit(u *inspect.TimerUnit, file string, at int64) {
	r := t.r
	r.res.TimerUnits++
	slot := u.Time() / r.TimerPrecision
	pending := u.Time() >= t.cp.ReadTime
	c := t.chains[slot]
	switch {
	case c == nil && u.Before >= t.begin:
		t.bad(TimerUnit, Damage, file, at, "names the unit at %d as the one before it in its slot, which has none", u.Before)
	case c != nil && u.Before != c.last:
		t.bad(TimerUnit, Damage, file, at, "names the unit at %d as the one before it in its slot, it is that at %d", u.Before, c.last)
	}
	if c == nil {
		c = &chain{first: u.Position}
		t.chains[slot] = c
	}
	c.last = u.Position
	if u.Magic&inspect.TimerCancel != 0 {
		c.num--
	} else {
		c.num++
	}
	if pending && u.Magic&inspect.TimerCancel == 0 {
		r.res.TimerPending++
	}
	if u.Phys >= r.logEnd && len(r.log) > 0 {
		t.bad(TimerUnit, r.afterCrash(), file, at, "its message is at %d, the commit log ends at %d", u.Phys, r.logEnd)
		return
	}
	if u.Phys < r.logMin {
		if pending {
			t.bad(TimerUnit, Damage, file, at, "its message at %d was to be delivered at %d, and is gone with the commit log's file", u.Phys, u.Time())
		}
		return
	}
	rec, why := t.message(u)
	if why != "" {
		t.bad(TimerUnit, Damage, file, at, "%s", why)
	}
	if pending && rec != nil && r.VisitTimer != nil {
		r.VisitTimer(u.Time(), u.Magic&inspect.TimerCancel != 0, rec)
	}
}

// message holds a unit against its message, and returns that, if it is one, and where they do not agree.
func (t *timers) message(u *inspect.TimerUnit) (rec []byte, why string) {
	seg := find(t.r.log, u.Phys)
	if seg == nil {
		return nil, ""
	}
	if t.log.name != seg.name {
		t.log.close()
		t.log = windowed{fsys: t.r.Log, name: seg.name, size: seg.size}
	}
	if u.Size > maxRecord || int64(u.Size) > seg.end()-u.Phys {
		return nil, fmt.Sprintf("says that its message at %d has %d bytes", u.Phys, u.Size)
	}
	b, err := t.log.get(u.Phys-seg.base, int64(u.Size))
	var h record.Header
	if err == nil {
		err = record.Parse(b, &h)
	}
	switch {
	case err != nil:
		return nil, fmt.Sprintf("no message of %d bytes starts at %d: %v", u.Size, u.Phys, err)
	case h.Size != int(u.Size):
		return nil, fmt.Sprintf("says that its message at %d has %d bytes, it has %d", u.Phys, u.Size, h.Size)
	case string(h.Topic) != timerTopic:
		return nil, fmt.Sprintf("the message at %d is of topic %s", u.Phys, h.Topic)
	}
	props := view(h.Properties)
	if hash := record.HashString(record.Property(props, "REAL_TOPIC")); hash != u.TopicHash {
		return b, fmt.Sprintf("has %d as the hash of its message's topic, it is %d", u.TopicHash, hash)
	}
	out, err := strconv.ParseInt(record.Property(props, "TIMER_OUT_MS"), 10, 64)
	if err == nil && u.Magic&inspect.TimerRolled == 0 && out != u.Time() {
		return b, fmt.Sprintf("is of the slot of %d, its message is due at %d", u.Time(), out)
	}
	return b, ""
}

// checkEnds compares the checkpoint with the log and with the timer topic.
func (t *timers) checkEnds() {
	r := t.r
	if !t.there || r.Live {
		return
	}
	if t.cp.LogFlushed > t.end {
		t.bad(TimerCheckFile, r.afterCrash(), timerCheck, 8, "says that the timer log is on disk up to %d, it ends at %d", t.cp.LogFlushed, t.end)
	}
	q := r.queues.get(timerTopic, 0)
	for i, off := range []int64{t.cp.QueueOffset, t.cp.MasterOffset} {
		if q != nil && off > q.max && q.behind.n == 0 {
			t.bad(TimerCheckFile, r.afterCrash(), timerCheck, 16+8*int64(i), "says that the timer topic was entered up to %d, which ends at %d", off, q.max)
		} else if q == nil && off > 0 && !r.rocksQueues() {
			t.bad(TimerCheckFile, r.afterCrash(), timerCheck, 16+8*int64(i), "says that the timer topic was entered up to %d, and it has no queue", off)
		}
	}
	if limit := r.newest + 8*24*3600*1000; r.newest > 0 && t.cp.ReadTime > max(limit, t.cp.Timestamp+3600*1000) {
		t.bad(TimerCheckFile, Damage, timerCheck, 0, "says that all is delivered up to %d ms, long after the newest message", t.cp.ReadTime)
	}
}

// checkWheel compares the slots that are not delivered yet with the chains in the log.
func (t *timers) checkWheel() error {
	r := t.r
	info, err := fs.Stat(r.Root, wheelFile)
	if errors.Is(err, fs.ErrNotExist) {
		if r.res.TimerPending > 0 {
			t.bad(TimerFile, Recoverable, wheelFile, -1, "is not there: a start makes it anew from the timer log")
		}
		return nil
	}
	if err != nil {
		r.unreadable(wheelFile, -1, err)
		return nil
	}
	if info.Size() != inspect.TimerWheelSize {
		t.bad(TimerFile, Recoverable, wheelFile, -1, "has %d bytes, not %d: Apogee makes it anew from the timer log, a Java broker does not start", info.Size(), inspect.TimerWheelSize)
		return nil
	}
	compare := !r.Live
	list, err := fs.ReadDir(r.Root, ".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if n, ok := strings.CutPrefix(e.Name(), wheelFile+"."); ok && strings.Trim(n, "0123456789") == "" && n != "" {
			compare = false // Java keeps copies then, and does not write the wheel
			if i, err := e.Info(); err == nil && i.Size() != inspect.TimerWheelSize {
				t.bad(TimerFile, Damage, e.Name(), -1, "has %d bytes, not %d", i.Size(), inspect.TimerWheelSize)
			}
		}
	}
	t.readWheel(compare)
	return nil
}

func (t *timers) readWheel(compare bool) {
	r := t.r
	w := windowed{fsys: r.Root, name: wheelFile, size: inspect.TimerWheelSize}
	defer w.close()
	read := t.cp.ReadTime / r.TimerPrecision
	const piece = 8192
	for at := int64(0); at < inspect.TimerWheelSize; {
		n := min(piece*inspect.TimerSlotSize, inspect.TimerWheelSize-at)
		b, err := w.get(at, n)
		if err != nil {
			r.unreadable(wheelFile, at, err)
			return
		}
		if onlyZeros(b) {
			at += n
			continue
		}
		for ; len(b) > 0; b, at = b[inspect.TimerSlotSize:], at+inspect.TimerSlotSize {
			if s, ok := inspect.ParseTimerSlot(b); ok {
				s.Index = int(at / inspect.TimerSlotSize)
				t.slot(&s, at, read, compare)
			}
		}
	}
	if !compare {
		return
	}
	for time, c := range t.chains {
		if time >= read {
			t.bad(TimerSlot, Recoverable, wheelFile, time%inspect.TimerSlots*inspect.TimerSlotSize,
				"the slot of %d ms is empty, the timer log has %d messages of it, the last at %d: Apogee repairs the wheel at its start", time*r.TimerPrecision, c.num, c.last)
		}
	}
}

// slot looks at one slot; the chain that it agrees with is forgotten.
func (t *timers) slot(s *inspect.TimerSlot, at, read int64, compare bool) {
	if s.Time < 0 || s.Time%inspect.TimerSlots != int64(s.Index) || s.Magic != 0 {
		t.bad(TimerSlot, Recoverable, wheelFile, at, "slot %d holds the time %d, which is not its own", s.Index, s.Time)
		return
	}
	if s.Time < read || !compare {
		return
	}
	c := t.chains[s.Time]
	delete(t.chains, s.Time)
	text := fmt.Sprintf("the slot of %d ms leads from %d to %d", s.Time*t.r.TimerPrecision, s.First, s.Last)
	switch {
	case c == nil:
		t.bad(TimerSlot, Recoverable, wheelFile, at, "%s, and the timer log has no message of it: Apogee repairs the wheel at its start", text)
	case c.last != s.Last || c.first != s.First && s.First >= t.begin:
		t.bad(TimerSlot, Recoverable, wheelFile, at, "%s, its messages in the timer log from %d to %d: Apogee repairs the wheel at its start", text, c.first, c.last)
	case c.num != s.Num:
		t.bad(TimerSlot, Note, wheelFile, at, "%s and counts %d messages, there are %d: a recovery of Java's does not count", text, s.Num, c.num)
	}
}
