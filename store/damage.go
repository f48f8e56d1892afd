package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"apogee/store/record"
	"apogee/store/vfs"
)

// What start-up does about damage: what can be made again from the commit log is set aside and made again; a part of the log that is
// damaged, and known to have been whole, is noted and never given out, and what is behind it stays; a directory that lacks files of
// the log is refused. Nothing is deleted but what holds no messages.

// quarantine moves a file or directory out of the way, and returns where it is now. A log that is elsewhere has its own place for that:
// another disk, perhaps.
func (s *Store) quarantine(name string) (string, error) {
	root, rel := s.quarantineRoot(name)
	return vfs.Quarantine(s.fs, root, rel, s.now())
}

func (s *Store) quarantineRoot(name string) (root, rel string) {
	o := s.options()
	if below, ok := strings.CutPrefix(name, o.RootDir+"/"); ok {
		return o.RootDir, below
	}
	return o.CommitLogDir, path.Base(name)
}

// loadLog finds the files of the log. What cannot be one is left alone (Java does not start); a last file that is too short, as an
// interrupted copy leaves it, gets its length. Other lengths, and gaps, nobody but an operator can judge.
func (s *Store) loadLog() error {
	l := s.commit.files
	var wrong []oddFile
	note := func(odd oddFile) error {
		if odd.base < 0 {
			s.log.Warn("not a file of the commit log, left alone", "file", odd.name)
			return nil
		}
		wrong = append(wrong, odd)
		return nil
	}
	if err := l.load(s.lastExit, note); err != nil {
		return err
	}
	if len(wrong) == 1 {
		odd := wrong[0]
		last := l.last()
		// A log of one file whose length is one that somebody may have configured is more likely that.
		if odd.size < l.fileSize && (last == nil && odd.size%vfs.PageSize != 0 || last != nil && last.end() == odd.base) {
			s.log.Error("last file of the commit log is too short: it gets its length, and ends where its records do", "err", odd.why)
			if err := resizeFile(s.fs, odd.name, l.fileSize); err != nil {
				return err
			}
			wrong = nil
			if err := l.load(s.lastExit, note); err != nil {
				return err
			}
		}
	}
	if len(wrong) > 0 {
		err := wrong[0].why
		if size := wrong[0].size; l.last() == nil && !slices.ContainsFunc(wrong, func(o oddFile) bool { return o.size != size }) {
			return fmt.Errorf("%w. All files have that size: set mappedFileSizeCommitLog=%d if it is what they were written with", err, size)
		}
		return fmt.Errorf("%w. See with `apogee store doctor %s` what can be read, and mend it with `apogee store repair`", err, s.options().RootDir)
	}
	list := l.list()
	for i := 1; i < len(list); i++ {
		if from := list[i-1].end(); from != list[i].base {
			return holeError(s.options(), from, list[i].base)
		}
	}
	return nil
}

// damagedFile is where the damaged parts of the log are noted, below the store's root.
const damagedFile = "damaged.json"

// damaged is parts of the log that cannot be read, ascending. It is never changed in place.
type damaged []extent

// covers tells whether a record that starts at an offset is damaged.
func (d damaged) covers(off int64) bool {
	i := sort.Search(len(d), func(i int) bool { return d[i].end > off })
	return i < len(d) && off >= d[i].start
}

// with adds a part.
func (d damaged) with(e extent) damaged {
	all := append(slices.Clone(d), e)
	slices.SortFunc(all, func(a, b extent) int { return int(min(max(a.start-b.start, -1), 1)) })
	out := all[:1]
	for _, e := range all[1:] {
		if last := &out[len(out)-1]; e.start <= last.end {
			last.end = max(last.end, e.end)
		} else {
			out = append(out, e)
		}
	}
	return out
}

// isDamaged tells whether the record at an offset is known to be damaged: it is not given to anybody.
func (s *Store) isDamaged(off int64) bool {
	d := s.damaged.Load()
	return d != nil && d.covers(off)
}

// damagedUntil is where the damaged part ends that an offset lies in; the offset itself if it lies in none.
func (s *Store) damagedUntil(off int64) int64 {
	if d := s.damaged.Load(); d != nil {
		for _, e := range *d {
			if off >= e.start && off < e.end {
				return e.end
			}
		}
	}
	return off
}

// noteDamage adds a part of the log to those that are damaged. It is on disk when the next call of writeDamaged returns.
func (s *Store) noteDamage(e extent) {
	for {
		old := s.damaged.Load()
		var list damaged
		if old != nil {
			list = *old
		}
		list = list.with(e)
		if s.damaged.CompareAndSwap(old, &list) {
			s.damagedNew.Store(true)
			return
		}
	}
}

// damagedPart is one entry of the file.
type damagedPart struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// writeDamaged writes the file if there is something new.
func (s *Store) writeDamaged() error {
	if !s.damagedNew.Swap(false) {
		return nil
	}
	var parts []damagedPart
	for _, e := range *s.damaged.Load() {
		parts = append(parts, damagedPart{e.start, e.end})
	}
	text, err := json.MarshalIndent(parts, "", "\t")
	if err == nil {
		err = vfs.WriteFileAtomic(s.fs, path.Join(s.options().RootDir, damagedFile), text)
	}
	if err != nil {
		s.damagedNew.Store(true)
		return fmt.Errorf("note damaged parts of the log: %w", err)
	}
	return nil
}

// loadDamaged reads the file. Parts that have been repaired or have gone, with their files, do not count any more.
func (s *Store) loadDamaged() error {
	small := vfs.SmallFile{
		FS: s.fs, Name: path.Join(s.options().RootDir, damagedFile), Log: s.log, Now: s.now,
		Lost: "Damaged records that were found before are not known: 'apogee store verify' finds them",
	}
	var parts []damagedPart
	_, err := small.Load(func(text []byte) error {
		var got []damagedPart
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		parts = got
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		if f := s.commit.files.find(p.From); f != nil && p.To > p.From && !s.wholeAt(f, p) {
			s.noteDamage(extent{p.From, p.To})
		}
	}
	s.damagedNew.Store(false)
	return nil
}

// wholeAt tells whether a valid record is where one was damaged.
func (s *Store) wholeAt(f *mappedFile, p damagedPart) bool {
	if f.hold() != nil {
		return false
	}
	defer f.release()
	whole := false
	_ = f.guard(func() error { // a fault leaves it damaged
		var h record.Header
		// A record that ends a transaction without a message is what store/repair wraps damaged bytes in.
		whole = record.Parse(f.data[p.From-f.base:], &h) == nil && h.PhysicalOffset == p.From && h.CheckBody() == nil && h.Tran() != record.SysTranRollback
		return nil
	})
	return whole
}

// magicStart is what the magic numbers of both versions of a record begin with.
var magicStart = []byte{0xDA, 0xA3, 0x20}

// nextRecord finds the first valid record in b from a position on, -1 if there is none. base is the log offset of b: a record knows
// its own, so that nothing in a body is taken for one.
func nextRecord(b []byte, base int64, from int, h *record.Header) int {
	for at := from + 4; at < len(b); at++ { // the magic number follows the size
		i := bytes.Index(b[at:], magicStart)
		if i < 0 {
			return -1
		}
		at += i
		pos := at - 4
		if record.Parse(b[pos:], h) == nil && h.PhysicalOffset == base+int64(pos) && h.CheckBody() == nil {
			return pos
		}
	}
	return -1
}
