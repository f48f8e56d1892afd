// Package doctor says whether a data directory is safe to open with a configuration: what it needs, what the start of a broker would change,
// who wrote it, and what would stand against giving it back to a Java broker. It reads ends and sizes only; whether everything inside is sound
// is what package verify looks at. Nothing is written.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"apogee/store"
	"apogee/store/foreign"
	"apogee/store/inspect"
	"apogee/store/verify"
	"apogee/store/vfs"
)

// Status is how bad something is.
type Status string

// The statuses.
const (
	Info Status = "info" // for whoever wants to know
	OK   Status = "ok"
	Warn Status = "warn" // think about it first
	Bad  Status = "bad"  // do not open it like this
)

// Check is one thing that was looked at.
type Check struct {
	Status Status `json:"status"`
	Name   string `json:"name"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"` // what to do about it
}

// Report is all of them.
type Report struct {
	Checks  []Check  `json:"checks"`
	Changes []string `json:"changes"` // what opening the directory changes
	Writer  string   `json:"writer"`  // who wrote it, as far as can be told
	Safe    bool     `json:"safe"`
	Verdict string   `json:"verdict"`
}

// Options say what to look at. The functions are what an operating system knows beyond the files.
type Options struct {
	Root, Log fs.FS         // Log is nil where it is commitlog below Root
	Conf      store.Options // as the broker would open it
	Timer     int64         // mappedFileSizeTimerLog
	Foreign   []foreign.Finding
	Holder    string // who is at work in the directory, "" for nobody
	Now       func() time.Time

	Setting func(key string) (string, bool)
	Access  func(name string) error              // whether a file or folder below Root may be read and written
	Usage   func() (map[string]vfs.Usage, error) // of the disks, by folder
}

// patient is one examination.
type patient struct {
	Options
	r     *Report
	s     *inspect.Store
	sum   *inspect.Summary
	log   []entry // files of the log
	light bool    // there are queues of light topics
}

// entry is a file.
type entry struct {
	name string
	size int64
	mod  time.Time
}

// Run examines a directory.
func Run(ctx context.Context, o Options) (*Report, error) {
	p := &patient{Options: o, r: &Report{}}
	s, err := inspect.Open(o.Root, o.Log)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p.s = s
	if p.Log == nil {
		if p.Log, err = fs.Sub(o.Root, "commitlog"); err != nil {
			return nil, err
		}
	}
	p.foreign()
	if p.sum, err = s.Summary(); err != nil {
		return nil, err
	}
	for _, step := range []func() error{p.use, p.logFiles, p.damaged, p.queues, p.indexes, p.others, p.features, p.recovery, p.disks, p.permissions} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := p.small(ctx); err != nil {
		return nil, err
	}
	p.r.Writer = p.writer()
	p.verdict()
	return p.r, nil
}

func (p *patient) add(status Status, name, fix, format string, args ...any) {
	p.r.Checks = append(p.r.Checks, Check{status, name, fmt.Sprintf(format, args...), fix})
}

func (p *patient) change(format string, args ...any) {
	p.r.Changes = append(p.r.Changes, fmt.Sprintf(format, args...))
}

func (p *patient) there(name string) bool {
	_, err := fs.Stat(p.Root, name)
	return err == nil
}

func (p *patient) verdict() {
	bad, warn := 0, 0
	for _, c := range p.r.Checks {
		switch c.Status {
		case Bad:
			bad++
		case Warn:
			warn++
		}
	}
	p.r.Safe = bad == 0
	switch {
	case bad > 0:
		p.r.Verdict = fmt.Sprintf("NOT SAFE to open with this configuration: %d reasons, see the lines marked bad", bad)
	case warn > 0:
		p.r.Verdict = fmt.Sprintf("safe to open; think about %d warnings first", warn)
	default:
		p.r.Verdict = "safe to open"
	}
}

// foreign reports what a broker of files does not read.
func (p *patient) foreign() {
	for _, f := range p.Foreign {
		status := Warn
		if f.Bars {
			status = Bad
		}
		p.add(status, "other storage", "apogee broker says the steps when it refuses", "%s in %s: %s", f.Kind, f.Path, f.Holds)
	}
}

// use is who is at work in the directory, and how it was left.
func (p *patient) use() error {
	if p.Holder != "" {
		p.add(Bad, "in use", "stop it first", "%s holds the lock", p.Holder)
	} else {
		p.add(OK, "in use", "", "nobody holds the lock")
	}
	if p.sum.Abort {
		p.add(Warn, "last stop", "", "not clean: the file abort names process %s", p.sum.AbortPID)
	} else {
		p.add(OK, "last stop", "", "clean")
	}
	return nil
}

// list is the files of a folder; one that is not there has none.
func list(fsys fs.FS, dir string) (files []entry, dirs []string, err error) {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		files = append(files, entry{e.Name(), info.Size(), info.ModTime()})
	}
	return files, dirs, nil
}

// sameSize compares the sizes of files with what is configured.
func (p *patient) sameSize(name, key string, files []entry, want int64) {
	other := map[int64]int{}
	for _, f := range files {
		if f.size != want && f.size != 0 {
			other[f.size]++
		}
	}
	switch {
	case len(files) == 0:
		return
	case len(other) == 0:
		p.add(OK, name, "", "%d files of %d bytes, as %s says", len(files), want, key)
	default:
		for size, n := range other {
			fix := fmt.Sprintf("set %s=%d, or copy the directory to other sizes with apogee store migrate", key, size)
			if len(other) > 1 {
				fix = "see apogee store verify"
			}
			p.add(Bad, name, fix, "%d of %d files have %d bytes, %s is %d: neither Apogee nor a Java broker starts", n, len(files), size, key, want)
		}
	}
}

// logFiles looks at the files of the log.
func (p *patient) logFiles() error {
	files, _, err := list(p.Log, ".")
	if err != nil {
		return err
	}
	p.log = files
	if len(files) == 0 {
		p.add(Warn, "commit log", "if it is elsewhere, give --commitlog or storePathCommitLog", "there is none: consume queues are removed by a start")
		return nil
	}
	p.sameSize("commit log", "mappedFileSizeCommitLog", files, p.Conf.MappedFileSizeCommitLog)
	p.add(Info, "commit log", "", "messages from offset %d to %d, %d bytes", p.sum.Log.Min, p.sum.Log.End, p.sum.Log.End-p.sum.Log.Min)
	old := 0
	limit := p.Now().Add(-time.Duration(p.Conf.FileReservedTimeHours) * time.Hour)
	for _, f := range files[:len(files)-1] {
		if f.mod.Before(limit) {
			old++
		}
	}
	if old > 0 {
		p.add(Warn, "expired files", "set a longer fileReservedTime, if they are still wanted",
			"%d of %d files of the log are older than fileReservedTime=%d hours: they are deleted in the hours deleteWhen=%s", old, len(files), p.Conf.FileReservedTimeHours, p.Conf.DeleteWhen)
	}
	return nil
}

// small has verify look at the small files: checkpoint, configuration, names and sizes.
func (p *patient) small(ctx context.Context) error {
	_, err := verify.Quick(ctx, verify.Options{Root: p.Root, Log: p.Log, Live: p.Holder != "", Report: func(f verify.Finding) {
		if f.Kind == verify.Unclean || f.Level == verify.Note {
			return
		}
		status := Warn
		if f.Level == verify.Damage {
			status = Bad
		}
		p.add(status, "files", "", "%s: %s", f.File, f.Text)
		if f.Level == verify.Recoverable && f.Kind == verify.ConfigUnread {
			p.change("%s is taken from its backup; what could not be read is kept as %s.corrupt", f.File, path.Base(f.File))
		}
	}})
	return err
}
