// Package verify reads a whole data directory, Apogee's or Java's, and says what is wrong with it. It changes nothing and takes no
// lock; with [Options.Live] it reads a directory that a broker is at work in, where what is being written is no damage.
//
// The log is read once, from its start to its end (log.go): one goroutine reads large pieces and checks each record, another holds
// everything that points into the log against the records as they come by: entries of queues (queues.go) and of index files (index.go) are in
// the order of the log, so this is one merge and needs no look-ups. Memory is bounded by the number of queues, not by what they hold.
//
// Start at [Run]. What is found comes out as typed findings ([Finding]), each with its place.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"apogee/store/inspect"
)

// Options say what to look at, and how.
type Options struct {
	Root fs.FS // storePathRootDir
	Log  fs.FS // storePathCommitLog; nil is commitlog below Root
	Live bool  // a broker is at work in the directory

	// Settings that files do not tell of themselves; zero is what the files look like, or Java's default.
	IndexSlots, IndexEntries int32   // maxHashSlotNum, maxIndexNum
	DelayLevels              []int64 // ms; messageDelayLevel
	TimerPrecision           int64   // ms; timerPrecisionMs

	Report   func(Finding)           // each finding, as it is found
	Progress func(done, total int64) // bytes of the log that have been read; called every few MiB

	// Visit is given each message that its queue leads to, in the order of the log, while the log is read.
	Visit func(*Visited)
	// VisitTimer is given each message that waits in the timer wheel, and each cancellation, with the time of its slot in ms.
	VisitTimer func(due int64, cancel bool, rec []byte)
}

// Visited is one message as [Options.Visit] gets it; it dies with the call.
type Visited struct {
	Topic  string // of the queue: with multi dispatch not that of the record
	Queue  int32
	Batch  bool
	Entry  inspect.Entry
	Record []byte
}

// Result is what was looked at, and how often each kind of finding came up.
type Result struct {
	Live         bool            `json:"live"`
	Abort        bool            `json:"abort"` // the store was not closed, or is open
	LogMin       int64           `json:"logMin"`
	LogEnd       int64           `json:"logEnd"`
	Records      int64           `json:"records"`
	Queues       int             `json:"queues"`
	Entries      int64           `json:"queueEntries"`
	IndexFiles   int             `json:"indexFiles"`
	IndexEntries int64           `json:"indexEntries"`
	Compacted    int64           `json:"compactedRecords"`
	TimerUnits   int64           `json:"timerUnits"`
	TimerPending int64           `json:"timersPending"`
	ConfigFiles  int             `json:"configFiles"`
	Skipped      []string        `json:"skipped,omitempty"` // what is there and was not looked into, and why
	Kinds        map[Kind]int64  `json:"findings"`          // findings of each kind
	Levels       map[Level]int64 `json:"levels"`
	Unreadable   int64           `json:"unreadable"` // places that could not be read
}

// Sound tells whether nothing was found but notes.
func (r *Result) Sound() bool { return r.Levels[Damage] == 0 && r.Levels[Recoverable] == 0 }

// ErrNoStore says that a folder is no data directory.
var ErrNoStore = errors.New("no data directory: it has neither a commit log nor a folder config")

// run is one pass over a directory.
type run struct {
	Options
	ctx context.Context
	res *Result

	clean  bool // it was closed, as far as the marks tell
	cp     inspect.Checkpoint
	log    []segment
	replay int64 // records from here on are given to the queues again by the next start

	logMin, logEnd int64 // of what has been read
	newest         int64 // ms: when the newest record was stored

	conf   configs
	queues *queueTable
	index  *indexJoin
}

// Run looks at everything. The error is for what keeps it from looking; what it finds goes to o.Report and into the result.
func Run(ctx context.Context, o Options) (*Result, error) {
	return start(ctx, o, (*run).checkSmall, (*run).checkConfigs, (*run).loadQueues, (*run).loadIndex, (*run).checkLog,
		(*run).checkTimer, (*run).checkCompaction, (*run).checkOffsets)
}

// Quick looks at names and sizes of files, at the files of config, and at the small ones: not at what is in log, queues and index.
func Quick(ctx context.Context, o Options) (*Result, error) {
	return start(ctx, o, (*run).checkSmall, (*run).checkConfigs, (*run).loadQueues, (*run).loadIndex)
}

// Compaction looks at the compaction logs only.
func Compaction(ctx context.Context, o Options) (*Result, error) {
	return start(ctx, o, (*run).checkCompaction)
}

func start(ctx context.Context, o Options, steps ...func(*run) error) (*Result, error) {
	if o.Log == nil {
		sub, err := fs.Sub(o.Root, "commitlog")
		if err != nil {
			return nil, err
		}
		o.Log = sub
	}
	if len(o.DelayLevels) == 0 {
		o.DelayLevels = defaultDelays()
	}
	if o.TimerPrecision == 0 {
		o.TimerPrecision = 1000
	}
	r := &run{Options: o, ctx: ctx, res: &Result{Live: o.Live, Kinds: map[Kind]int64{}, Levels: map[Level]int64{}}}
	if err := r.open(); err != nil {
		return nil, err
	}
	for _, step := range steps {
		if err := step(r); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	r.res.LogMin, r.res.LogEnd = r.logMin, r.logEnd
	return r.res, nil
}

// open finds out whether there is anything to look at.
func (r *run) open() error {
	if _, err := fs.Stat(r.Root, "."); err != nil {
		return err
	}
	var err error
	if r.log, err = r.segments(r.Log, ".", logDir, LogFile); err != nil {
		return fmt.Errorf("commit log: %w", err)
	}
	if len(r.log) == 0 && !r.anyOf("config", "checkpoint", "lock") {
		return ErrNoStore
	}
	if len(r.log) > 0 {
		r.logMin = r.log[0].base
	}
	_, err = fs.Stat(r.Root, "abort")
	r.res.Abort = err == nil
	r.clean = errors.Is(err, fs.ErrNotExist)
	for _, dir := range inspect.RocksDirs(r.Root) {
		r.res.Skipped = append(r.res.Skipped, dir+": a RocksDB database")
	}
	return nil
}

// anyOf tells whether one of several names is there.
func (r *run) anyOf(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, err := fs.Stat(r.Root, name)
		return err == nil
	})
}

// defaultDelays are the levels of Java's default messageDelayLevel.
func defaultDelays() []int64 {
	var out []int64
	for _, s := range []int64{1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200} {
		out = append(out, s*1000)
	}
	return out
}

// report counts a finding and hands it on.
func (r *run) report(f Finding) {
	if r.Live && f.Level == Recoverable {
		f.Level = Note // what a start would put right, a running broker has in memory
	}
	r.res.Kinds[f.Kind]++
	r.res.Levels[f.Level]++
	if f.Kind == Unreadable {
		r.res.Unreadable++
	}
	if r.Report != nil {
		r.Report(f)
	}
}

// unreadable reports a file that could not be read. One that went away under a running broker is no finding.
func (r *run) unreadable(file string, at int64, err error) {
	if r.Live && errors.Is(err, fs.ErrNotExist) {
		return
	}
	r.report(Finding{Kind: Unreadable, Level: Damage, File: file, At: at, Text: err.Error()})
}

// mends is the level of something that the next start puts right if it comes from what it reads again.
func (r *run) mends(off int64) Level {
	if off >= r.replay {
		return Recoverable
	}
	return Damage
}

// afterCrash is the level of what is normal after a crash, and is not after a clean stop.
func (r *run) afterCrash() Level {
	if r.clean {
		return Damage
	}
	return Recoverable
}

// sorted is the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// below joins the names of a file, with slashes.
func below(parts ...string) string { return path.Join(parts...) }
