// Package migrate copies a data directory to another place, with other file sizes or its commit log on another disk, and compares the copy
// with what it was made of. The source is only read.
//
// As long as the size of the log's files stays the same, its bytes and all offsets do. With another size records move: no record may lie
// across two files, and what is unused at the end of a file cannot stand in the middle of one. Then each record is written at the next place
// of the new log, and says so; queues, indexes, timers and checkpoint follow, by a short list of by how much the offsets of
// a stretch of the log have changed ([mapping]). Queue offsets, and with them what consumers have consumed, never change.
//
// A run that is killed is run again and goes on where its journal says; until the end the journal keeps brokers off the copy. Start at [Run].
package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"apogee/store/foreign"
	"apogee/store/inspect"
	"apogee/store/vfs"
)

// Options are what a copy is made of.
type Options struct {
	FS       vfs.FS
	Src, Dst string
	SrcLog   string // folder of the commit log; "" is below the directory
	DstLog   string

	// File sizes of the copy; 0 keeps those of the source.
	LogFile, QueueFile, BatchQueueFile int64
	// Of the source's index files: the entries of an index are not where its file says.
	HashSlots, IndexEntries int64

	Pace     func(bytes int64) error              // told of what was read; may wait, or end the run with an error
	Progress func(what string, done, total int64) // of bytes, roughly; may be nil
}

// Report is the result of a finished copy.
type Report struct {
	Src         string   `json:"src"`
	Dst         string   `json:"dst"`
	Records     int64    `json:"records"` // compared, byte by byte but for what must differ
	Bytes       int64    `json:"bytes"`
	Queues      int      `json:"queues"`
	Entries     int64    `json:"queueEntries"`
	IndexFiles  int      `json:"indexFiles"`
	Rewritten   bool     `json:"offsetsChanged"` // commit-log offsets are others than before
	Digest      string   `json:"digest"`         // over all messages by queue: topic, queue, offset and contents
	DamagedBody int64    `json:"damagedBodies"`  // records copied as they are
	NotCopied   []string `json:"notCopied,omitempty"`
	Settings    []string `json:"settings"` // what the configuration of the broker must say for the copy
}

// Errors that a user has to do something about.
var (
	ErrRunning = errors.New("a broker is running on it; stop it first")
	ErrUnclean = errors.New("its broker did not close it: start and stop the broker, or run apogee store repair --apply")
	ErrOther   = errors.New("it is not empty, and was not begun by this copy")
)

// run is the work of one call.
type run struct {
	Options
	j       journal
	log     []segment
	logSize int64 // of the source's files
	damaged []inspect.DamagedPart
	queues  []queueDir
	qsize   map[string]int64 // of the source's queue files, by tree
	rep     Report
	total   int64
	moved   int64
}

// journal says how far a copy is. It lies in the copy and keeps brokers off.
type journal struct {
	Src       string  `json:"src"`
	Params    string  `json:"params"`
	Begin     int64   `json:"begin"`    // of the source's log
	Files     int     `json:"logFiles"` // copied, where the log stays as it is
	From      int64   `json:"from"`     // rewritten up to here
	To        int64   `json:"to"`       // where the next record goes
	LogDone   bool    `json:"logDone"`
	Pieces    mapping `json:"pieces"`
	Damaged   []moved `json:"damaged,omitempty"`
	Queues    int     `json:"queues"`
	RestDone  bool    `json:"restDone"`
	SourceEnd string  `json:"sourceEnd"` // of the last log file: name and time of its last change
}

func (r *run) journalFile() string { return path.Join(r.Dst, foreign.JournalFile) }

// Run copies, or goes on copying, and compares.
func Run(o Options) (*Report, error) {
	if o.SrcLog == "" {
		o.SrcLog = path.Join(o.Src, "commitlog")
	}
	if o.DstLog == "" {
		o.DstLog = path.Join(o.Dst, "commitlog")
	}
	r := &run{Options: o, qsize: map[string]int64{}, rep: Report{Src: o.Src, Dst: o.Dst}}
	lock, err := r.checkSource()
	if lock != nil {
		defer func() { _ = lock.Close() }()
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", o.Src, err)
	}
	held, err := r.openTarget()
	if held != nil {
		defer func() { _ = held.Close() }()
	}
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", o.Dst, err)
	}
	for _, f := range []func() error{r.copyLog, r.copyQueues, r.copyRest, r.compare, r.finish} {
		if err := f(); err != nil {
			return nil, fmt.Errorf("copy %s to %s: %w", o.Src, o.Dst, err)
		}
	}
	return &r.rep, nil
}

// checkSource locks the source and finds out what it is made of. A lock file is not made where there is none: nothing is written there.
func (r *run) checkSource() (lock io.Closer, err error) {
	if _, err := r.FS.Stat(r.Src); err != nil {
		return nil, err
	}
	if name := path.Join(r.Src, "lock"); r.exists(name) {
		if lock, err = r.FS.Lock(name); err != nil {
			if errors.Is(err, vfs.ErrLocked) {
				err = ErrRunning
			}
			return nil, err
		}
	}
	if r.exists(path.Join(r.Src, "abort")) {
		return lock, ErrUnclean
	}
	if _, err := foreign.Check(foreign.Place{FS: r.FS, Root: r.Src, Log: r.SrcLog}); err != nil {
		return lock, err
	}
	if err := errors.Join(r.listLog(), r.listQueues()); err != nil {
		return lock, err
	}
	if r.rewrites() && r.exists(path.Join(r.Src, "epochFileCheckpoint")) {
		return lock, errors.New("it belongs to a group of replicas with epochs (epochFileCheckpoint), whose log offsets cannot change: leave mappedFileSizeCommitLog as it is. " +
			"Or leave the group: copy it without that setting, move epochFileCheckpoint, its backup and brokerIdentity out of the copy, and copy that with the new size; its other replicas begin anew, on empty directories")
	}
	return lock, r.readDamaged()
}

// readDamaged reads which parts of the source's log are damaged.
func (r *run) readDamaged() error {
	text, err := vfs.ReadFile(r.FS, path.Join(r.Src, inspect.DamagedFile))
	if errors.Is(err, fs.ErrNotExist) || !r.rewrites() {
		return nil
	}
	if err == nil {
		r.damaged, err = inspect.ParseDamaged(text)
	}
	return err
}

func (r *run) exists(name string) bool {
	_, err := r.FS.Stat(name)
	return err == nil
}

// rewrites tells whether the log's offsets change.
func (r *run) rewrites() bool { return r.LogFile != r.logSize && len(r.log) > 0 }

// openTarget locks the copy and reads its journal, or begins one in an empty directory.
func (r *run) openTarget() (io.Closer, error) {
	if inside(r.Dst, r.Src) || inside(r.Src, r.Dst) || inside(r.DstLog, r.Src) || inside(r.DstLog, r.SrcLog) {
		return nil, errors.New("source and copy lie in each other")
	}
	if err := makeDir(r.FS, r.Dst); err != nil {
		return nil, err
	}
	lock, err := r.FS.Lock(path.Join(r.Dst, "lock"))
	if err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			err = ErrRunning
		}
		return nil, err
	}
	want := r.newJournal()
	text, err := vfs.ReadFile(r.FS, r.journalFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := errors.Join(r.empty(r.Dst), r.empty(r.DstLog)); err != nil {
			return lock, err
		}
		r.j = want
		return lock, r.save()
	case err != nil:
		return lock, err
	}
	if err := json.Unmarshal(text, &r.j); err != nil {
		return lock, fmt.Errorf("%s: %w", foreign.JournalFile, err)
	}
	if r.j.Src != want.Src || r.j.Params != want.Params {
		return lock, fmt.Errorf("%w: it is a copy of %s with %s", ErrOther, r.j.Src, r.j.Params)
	}
	if r.j.SourceEnd != want.SourceEnd || r.j.Begin != want.Begin {
		return lock, errors.New("the source has changed since the copy was begun; begin anew in an empty directory")
	}
	return lock, nil
}

func (r *run) newJournal() journal {
	j := journal{Src: r.Src, Params: fmt.Sprintf("log %s of %d, queues of %d, batch queues of %d", r.DstLog, r.LogFile, r.QueueFile, r.BatchQueueFile)}
	if n := len(r.log); n > 0 {
		j.Begin = r.log[0].base
		j.SourceEnd = fmt.Sprintf("%s %d", r.log[n-1].name, r.log[n-1].modified.UnixNano())
	}
	j.From, j.To = j.Begin, j.Begin
	if r.rewrites() { // not earlier: entries of messages that are gone stay as they are, and must be below what there is
		j.To = (j.Begin + r.LogFile - 1) / r.LogFile * r.LogFile
	}
	return j
}

// empty fails unless there is nothing in a directory but a lock file.
func (r *run) empty(dir string) error {
	infos, err := r.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, info := range infos {
		if info.Name != "lock" && info.Name != "lost+found" && path.Join(dir, info.Name) != r.DstLog && info.Name != foreign.JournalFile+".tmp" {
			return fmt.Errorf("%w: %s", ErrOther, path.Join(dir, info.Name))
		}
	}
	return err
}

// save writes the journal. What it says is done is on disk before.
func (r *run) save() error {
	text, err := json.MarshalIndent(&r.j, "", " ")
	if err != nil {
		return err
	}
	return writeFile(r.FS, r.journalFile(), text)
}

// finish lets brokers in.
func (r *run) finish() error {
	if err := errors.Join(r.FS.SyncDir(r.Dst), r.FS.Remove(r.journalFile()), r.FS.SyncDir(r.Dst)); err != nil {
		return err
	}
	set := func(key string, value any) { r.rep.Settings = append(r.rep.Settings, fmt.Sprintf("%s=%v", key, value)) }
	set("storePathRootDir", r.Dst)
	set("storePathCommitLog", r.DstLog)
	set("mappedFileSizeCommitLog", r.LogFile)
	set("mappedFileSizeConsumeQueue", r.QueueFile)
	set("mapperFileSizeBatchConsumeQueue", r.BatchQueueFile)
	return nil
}

// pace counts bytes that were read, and waits.
func (r *run) pace(what string, n int64) error {
	r.moved += n
	if r.Progress != nil {
		r.Progress(what, r.moved, r.total)
	}
	if r.Pace == nil {
		return nil
	}
	return r.Pace(n)
}

// inside tells whether a path is a folder, or below it.
func inside(name, dir string) bool {
	name, dir = path.Clean(name), path.Clean(dir)
	return name == dir || strings.HasPrefix(name, dir+"/")
}
