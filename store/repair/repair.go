// Package repair puts a data directory in order that a broker would not open, or would open with less than it holds: a torn tail, a
// damaged or missing file of the log, queues and indexes that are wrong or lost, files of settings whose backup is good.
//
// [Run] looks first and then, if it is told to, does what it found to be done. What it replaces is moved or copied into a dated folder
// below the root and never deleted. Queues and indexes are not mended but made again, by the store's own recovery, from the log. Records are
// never dropped: where bytes of the log are no record any more they stay where they are, wrapped as one that nobody is given, and
// the report says which messages they have been. A run that is killed is run again; the end is the same.
package repair

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/foreign"
	"apogee/store/inspect"
	"apogee/store/verify"
	"apogee/store/vfs"
)

// Kind is what is wrong, in the words of "apogee store verify" where it knows the same thing.
type Kind string

// The kinds.
const (
	Foreign    Kind = "foreign"     // what is not in files; see store/foreign
	Name       Kind = "name"        // a file whose name is no offset, where a Java broker does not start with such
	Leftover   Kind = "leftover"    // a temporary file of a write that was cut short
	LogFile    Kind = "log.file"    // a log file of another size, or none where one should be
	LogTail    Kind = "log.tail"    // bytes behind the last record
	LogHole    Kind = "log.hole"    // bytes that are no record, with records behind them
	LogBody    Kind = "log.bodyCRC" // a record whose body is not what its checksum says
	QueueFile  Kind = "queue.file"
	QueueEntry Kind = "queue.entry" // entries that are missing, or wrong
	QueueAhead Kind = "queue.ahead" // entries of records behind the end of the log
	QueueExt   Kind = "queue.ext"   // extensions of entries that are missing, or wrong
	Index      Kind = "index.file"
	Config     Kind = "config.file"
	CheckFile  Kind = "checkpoint"
	TimerWheel Kind = "timer.file"
	Compacted  Kind = "compaction" // a compaction log
	Abort      Kind = "abort"      // the directory was not closed
)

// State is what has become of a step.
type State string

// The states.
const (
	Planned State = "planned" // would be done with --apply
	Done    State = "done"
	Remains State = "remains" // nothing can be done about it here
)

// Step is one thing that is wrong and what is done about it.
type Step struct {
	Kind  Kind   `json:"kind"`
	Path  string `json:"path"`         // below the root, or the whole path of what lies elsewhere
	At    *int64 `json:"at,omitempty"` // offset in the log, or entry of a queue
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
	Lost  string `json:"lost,omitempty"` // which messages, or which of their bytes
	State State  `json:"state"`

	apply func() error
}

// Report is the result of a run.
type Report struct {
	Dir        string `json:"dir"`
	Applied    bool   `json:"applied"`
	Records    int64  `json:"records"`
	Begin      int64  `json:"logBegin"`
	End        int64  `json:"logEnd"`
	Steps      []Step `json:"steps"`
	Quarantine string `json:"quarantine,omitempty"` // where what was replaced has gone
	Remains    int    `json:"remains"`              // steps of that state
}

// Options say what to look at.
type Options struct {
	// Store is how the broker opens the directory; its file sizes are those of the configuration. See [Sizes].
	Store store.Options
	Apply bool
	// ValidConfig tells whether a file of the folder config can be read by a broker; nil: any that is not empty.
	ValidConfig func(name string, text []byte) error
	// Deleted tells whether a topic is not in the settings: that its queue is not there is as it should be. nil: no topic is.
	Deleted  func(topic string) bool
	Progress func(done, total int64) // of the log, now and then; may be nil
}

// ErrRunning says that a broker has the directory open.
var ErrRunning = errors.New("a broker is running on the directory; stop it first")

// Run looks for damage and, with o.Apply, does what can be done. An error means that the report is not complete, and with Apply that the run
// is to be repeated.
func Run(o Options) (*Report, error) {
	if o.Store.FS == nil {
		o.Store.FS = vfs.OS()
	}
	if o.Store.Now == nil {
		o.Store.Now = clock.Now
	}
	if o.Store.CommitLogDir == "" {
		o.Store.CommitLogDir = path.Join(o.Store.RootDir, "commitlog")
	}
	r := &run{o: o, s: &o.Store, fs: o.Store.FS, root: o.Store.RootDir, delays: readDelays(o.Store.MessageDelayLevel), rep: &Report{Dir: o.Store.RootDir, Applied: o.Apply, Steps: []Step{}}}
	if _, err := r.fs.Stat(r.root); err != nil {
		return nil, err
	}
	lock, err := r.lock()
	if err != nil {
		return nil, err
	}
	if lock != nil {
		r.unlock = lock.Close
	}
	defer func() { _ = r.letGo() }()
	r.ext.Root = vfs.ReadOnly(r.fs, r.root)
	defer r.ext.Close()
	if err := r.look(); err != nil {
		return r.rep, fmt.Errorf("look into %s: %w", r.root, err)
	}
	if o.Apply {
		if err := r.applyAll(); err != nil {
			return r.rep, fmt.Errorf("repair %s: %w", r.root, err)
		}
	}
	for _, s := range r.rep.Steps {
		if s.State == Remains {
			r.rep.Remains++
		}
	}
	return r.rep, nil
}

// run is the work of one call.
type run struct {
	o    Options
	s    *store.Options
	fs   vfs.FS
	root string
	rep  *Report

	unlock  func() error
	abort   bool // it is there
	log     logScan
	queues  map[queueKey]*queueState
	delays  []int64
	notes   []inspect.DamagedPart
	ext     verify.Extensions
	extSize int64  // of the files of extensions
	rebuild bool   // queues or index are to be made again from the whole log
	away    string // the quarantine; "" before it is used
}

// lock takes the directory's lock, without making a file for it: nothing is written by a look.
func (r *run) lock() (io.Closer, error) {
	name := path.Join(r.root, "lock")
	if _, err := r.fs.Stat(name); errors.Is(err, fs.ErrNotExist) && !r.o.Apply {
		return nil, nil
	}
	l, err := r.fs.Lock(name)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, ErrRunning
	}
	return l, err
}

func (r *run) letGo() error {
	if r.unlock == nil {
		return nil
	}
	err := r.unlock()
	r.unlock = nil
	return err
}

// look finds everything. The order is the one in which things are mended.
func (r *run) look() error {
	if _, err := r.fs.Stat(path.Join(r.root, "abort")); err == nil {
		r.abort = true
	}
	found, err := foreign.Look(foreign.Place{FS: r.fs, Root: r.root, Log: r.s.CommitLogDir})
	if err != nil {
		return err
	}
	barred := false
	for _, f := range found {
		if f.Bars {
			barred = true
			r.add(Step{Kind: Foreign, Path: f.Path, Found: f.Holds, Do: "nothing: the start of a broker says how to convert it", State: Remains})
		}
	}
	if barred {
		return nil // what would be made again from the log might be what the directory does not need
	}
	for _, f := range []func() error{r.readNotes, r.lookConfig, r.lookTimers, r.lookLogFiles, r.lookQueueFiles, r.scanLog, r.lookQueues, r.lookCompaction, r.lookIndex, r.lookCheckpoint, r.lookAbort} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// add notes a step; one that can be done has a function.
func (r *run) add(s Step) {
	if s.State == "" {
		s.State = Planned
	}
	r.rep.Steps = append(r.rep.Steps, s)
}

// below is a path as reports show it.
func (r *run) below(name string) string {
	if rest, ok := cutDir(name, r.root); ok {
		return rest
	}
	return name
}

func cutDir(name, dir string) (string, bool) {
	if len(name) > len(dir)+1 && name[:len(dir)] == dir && name[len(dir)] == '/' {
		return name[len(dir)+1:], true
	}
	return "", false
}

func at(n int64) *int64 { return &n }
