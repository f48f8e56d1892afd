package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// Store is the message store of one broker: one directory, one lock, one log and what is derived from it.
//
// Who writes what: callers of Put stage records, one at a time under the append lock (commitlog.go), and a commit writes them to
// the log (stage.go); the flusher makes it durable (flush.go); the dispatcher turns it into queue and index entries (dispatch.go); the cleaner deletes what is old
// (clean.go). Everybody else reads.
type Store struct {
	opts  atomic.Pointer[Options]
	fs    vfs.FS
	log   *slog.Logger
	now   func() time.Time
	files storeFiles
	lock  io.Closer

	queues     *queueTable
	commit     *commitLog
	flush      *flusher
	dispatch   *dispatcher
	index      *indexFiles
	checkpoint *checkpoint
	cleaner    *cleaner
	compact    *compactor
	flags      runningFlags
	failure    atomic.Pointer[error] // the first write error; nothing is written after it
	stats      counters
	warm       warmth
	told       atomic.Int64  // ns: when it was said last that messages cannot be read
	drain      time.Duration // how long Close waits for the dispatcher
	delays     []int64       // ms by delay level
	queuesLost bool          // the directory of consume queues was missing
	ends       queueEnds     // what was noted of the queues; while they are loaded
	endsNoted  atomic.Bool   // there may be a note of them that counts

	damaged    atomic.Pointer[damaged] // nil for nothing
	damagedNew atomic.Bool             // the file does not have it all

	lifeMu   sync.Mutex // guards phase; held across Start and Close
	phase    phase
	lastExit exit
	stop     context.CancelFunc
	services sync.WaitGroup
}

// storeFiles are the paths of the small files.
type storeFiles struct{ abort, lock, checkpoint, queues, batchQueues, index string }

type phase int

const (
	opened phase = iota
	started
	closed
)

// exit tells how the directory was left the last time.
type exit bool

const (
	cleanExit   exit = true
	uncleanExit exit = false
)

func (e exit) String() string {
	if e == cleanExit {
		return "clean"
	}
	return "unclean"
}

// options is the present configuration; Reconfigure replaces it.
func (s *Store) options() *Options { return s.opts.Load() }

// Reconfigure takes over those fields of o that are tagged hot.
func (s *Store) Reconfigure(o Options) {
	next := s.options().withHot(o)
	s.opts.Store(&next)
}

// Open locks, loads and recovers a directory; a missing one is made. Nothing is written but what recovery must repair. The
// caller closes the store, started or not.
func Open(opts Options) (*Store, error) {
	o, err := opts.prepared()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{fs: o.FS, log: o.Log, now: o.Now, queues: newQueueTable(), drain: drainTimeout}
	s.opts.Store(&o)
	s.flags.set(flagNotRunning)
	if o.BrokerRole == Slave {
		s.flags.set(flagSlave)
	}
	s.files = storeFiles{
		abort:       path.Join(o.RootDir, "abort"),
		lock:        path.Join(o.RootDir, "lock"),
		checkpoint:  path.Join(o.RootDir, "checkpoint"),
		queues:      path.Join(o.RootDir, "consumequeue"),
		batchQueues: path.Join(o.RootDir, "batchconsumequeue"),
		index:       path.Join(o.RootDir, "index"),
	}
	if err := mkdirDurable(s.fs, o.RootDir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.lock, err = s.fs.Lock(s.files.lock); err != nil {
		return nil, fmt.Errorf("open store %s: %w", o.RootDir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", o.RootDir, err), s.letGo())
	}
	return s, nil
}

// load is Java's DefaultMessageStore.load (spec: store.md 6.2).
func (s *Store) load() (err error) {
	o := s.options()
	if s.lastExit, err = s.readAbort(); err != nil {
		return err
	}
	if s.checkpoint, err = openCheckpoint(s.fs, s.files.checkpoint); err != nil {
		return err
	}
	if err := mkdirDurable(s.fs, o.CommitLogDir); err != nil {
		return err
	}
	s.commit = newCommitLog(s)
	s.flush = newFlusher(s)
	s.cleaner = newCleaner(s)
	s.compact = newCompactor(s)
	if err := s.loadLog(); err != nil {
		return err
	}
	if err := s.loadDamaged(); err != nil {
		return err
	}
	if err := s.loadQueues(); err != nil {
		return err
	}
	if err := s.loadIndex(s.lastExit); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.compact.load()
}

// readAbort tells how the last user of the directory left it.
func (s *Store) readAbort() (exit, error) {
	switch _, err := s.fs.Stat(s.files.abort); {
	case err == nil:
		return uncleanExit, nil
	case errors.Is(err, fs.ErrNotExist):
		return cleanExit, nil
	default:
		return uncleanExit, err
	}
}

// mkdirDurable makes a directory whose existence survives a power cut. One that is there may have been made by a process that was killed
// before it could say so.
func mkdirDurable(fsys vfs.FS, dir string) error {
	made := []string{dir}
	for d := dir; ; {
		_, err := fsys.Stat(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		parent := path.Dir(d)
		if err == nil || d == parent {
			break
		}
		if d = parent; d != path.Dir(d) {
			made = append(made, d)
		}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for i, d := range made {
		err := fsys.SyncDir(path.Dir(d))
		if i == len(made)-1 && errors.Is(err, fs.ErrPermission) {
			err = nil // it was there, in a directory that others have made
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Start writes the abort file and starts the background services; from then on the store takes messages.
func (s *Store) Start() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.phase != opened {
		return errors.New("start store: it has been started or closed before")
	}
	if err := s.writeMarks(); err != nil {
		return fmt.Errorf("start store: %w", err)
	}
	s.tryQueueEnds() // for the new time of the lock file
	s.phase = started
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.dispatch.start(s.commit.end())
	s.flush.start()
	s.serve(ctx, s.commit.alloc.loop)
	s.serve(ctx, s.commit.evict.loop)
	s.serve(ctx, s.checkpointLoop)
	s.serve(ctx, s.cleaner.loop)
	s.serve(ctx, s.compact.loop)
	s.serve(ctx, s.compact.passes)
	s.compact.notice()
	s.commit.open()
	return nil
}

// serve runs one background loop until ctx ends; Close waits for it.
func (s *Store) serve(ctx context.Context, loop func(context.Context)) {
	s.services.Go(func() { loop(ctx) })
}

// writeMarks leaves what a Java broker leaves while it runs: its process number in abort, and "lock" in the lock file. abort
// must be durable before the first change to the log.
func (s *Store) writeMarks() error {
	if err := writeMark(s.fs, s.files.lock, "lock"); err != nil {
		return err
	}
	return writeMark(s.fs, s.files.abort, strconv.Itoa(os.Getpid()))
}

func writeMark(fsys vfs.FS, name, text string) error {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(name)
	}
	if err != nil {
		return err
	}
	if err = f.Truncate(int64(len(text))); err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// checkpointInterval is how often the checkpoint is looked at; it is written only if it changed (Java: FlushConsumeQueueService, 1 s).
const checkpointInterval = time.Second

func (s *Store) checkpointLoop(ctx context.Context) {
	tick := time.NewTicker(checkpointInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := errors.Join(s.checkpoint.write(), s.writeDamaged()); err != nil {
				s.log.Error("checkpoint not written", "err", err)
			}
		}
	}
}

// drainTimeout bounds how long Close waits for the dispatcher (Java waits as long).
const drainTimeout = 5 * time.Second

// Close stops the services, makes everything durable and leaves a directory that needs no recovery (spec: store.md 6.7). If
// that cannot be had, the abort file stays and the error says why. Whoever waits for a completion hears before Close returns.
func (s *Store) Close() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.phase == closed {
		return nil
	}
	wasStarted := s.phase == started
	s.phase = closed
	var errs error
	if wasStarted {
		errs = errors.Join(errs, s.commit.shut())
		s.stop()
		s.services.Wait()
		errs = errors.Join(errs, s.flush.stop()) // the last flush makes everything dispatchable
		wait := s.drain
		if s.failure.Load() != nil {
			wait = 0 // the next start recovers anyway
		}
		if behind := s.dispatch.stop(wait); behind != 0 {
			errs = errors.Join(errs, fmt.Errorf("dispatch is %d bytes behind", behind))
		}
		if s.failure.Load() == nil {
			errs = errors.Join(errs, s.compact.finish())
		}
		errs = errors.Join(errs, s.flushQueuesAt(everything(), hurried(s, writeMost)), s.flushIndex(), s.commit.alloc.discard(), s.checkpoint.write(), s.writeDamaged())
		if p := s.failure.Load(); p != nil {
			errs = errors.Join(errs, *p)
		}
		if errs == nil {
			s.tryQueueEnds()
			errs = errors.Join(s.fs.Remove(s.files.abort), s.fs.SyncDir(s.options().RootDir))
		}
	}
	return errors.Join(errs, s.letGo())
}

// letGo unmaps what is mapped and gives the lock back.
func (s *Store) letGo() error {
	var err error
	if s.commit != nil {
		err = s.commit.letGo()
		s.commit.files.close()
	}
	s.closeQueues()
	if s.compact != nil {
		s.compact.close()
	}
	return errors.Join(err, s.lock.Close())
}

// fail makes the store refuse further messages. The first cause is kept: after it, what the disk holds is not known any more.
func (s *Store) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("store closed for writing", "err", err)
	}
	s.flags.set(flagNotWriteable)
}

// Writable is false while the store refuses messages (disk full, shut, failed write), and why.
func (s *Store) Writable() (bool, string) {
	if p := s.failure.Load(); p != nil {
		return false, (*p).Error()
	}
	if !s.flags.writeable() {
		return false, s.flags.String()
	}
	return true, ""
}

// PutWait is Put for callers that may block.
func (s *Store) PutWait(m *record.Message) PutResult {
	c := make(waitCompletion, 1)
	r := s.Put(m, c)
	if r.Pending {
		r.Status, r.Pending = <-c, false
	}
	return r
}

type waitCompletion chan PutStatus

func (c waitCompletion) Complete(status PutStatus) { c <- status }
