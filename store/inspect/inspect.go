// Package inspect looks into the data directory of a broker, Apogee's or Java's, without changing it: no lock is taken, nothing is
// written, and a broker may be at work in it meanwhile (what it writes during the look may or may not be seen).
//
// It recovers nothing: it shows what is there. Queues in RocksDB are reported and not read. Start at [Open], then [Store.Summary]
// for the whole, [Store.Queues] and [Store.EachEntry] for queues, [Store.Reader] for the log record by record.
package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Store is an open directory. It is used by one goroutine at a time.
type Store struct {
	root fs.FS
	log  *segments
}

// Open opens a directory (storePathRootDir). log is the folder of the commit log where it is elsewhere (storePathCommitLog), nil
// if it is below root.
func Open(root, log fs.FS) (*Store, error) {
	if log == nil {
		sub, err := fs.Sub(root, "commitlog")
		if err != nil {
			return nil, err
		}
		log = sub
	}
	files, err := readSegments(log, ".")
	if err != nil {
		return nil, fmt.Errorf("commit log: %w", err)
	}
	files.dir = "."
	if len(files.files) == 0 {
		if _, err := fs.Stat(root, "config"); err != nil {
			return nil, errors.New("no data directory: it has neither a commit log nor a folder config")
		}
	}
	return &Store{root: root, log: files}, nil
}

// Close closes what reading opened.
func (s *Store) Close() { s.log.close() }

// Summary is the state of a directory.
type Summary struct {
	Abort      bool        `json:"abort"`              // a broker runs, or ended without closing the store
	AbortPID   string      `json:"abortPid,omitempty"` // as it stands in the abort file
	Log        Log         `json:"commitLog"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Topics     int         `json:"topics"`
	Queues     int         `json:"queues"`
	Messages   int64       `json:"messages"` // entries in all queues; a message of several queues counts in each
	RocksDB    []string    `json:"rocksDB,omitempty"`
	Indexes    []Index     `json:"indexes,omitempty"`
	Configs    []Config    `json:"configFiles,omitempty"`
	Faults     []string    `json:"faults,omitempty"`
}

// Log are the files of the commit log and the offsets in them.
type Log struct {
	Files    int    `json:"files"`
	FileSize int64  `json:"fileSize"`
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
	Min      int64  `json:"min"`
	End      int64  `json:"end"`      // behind the last record
	Reserved int64  `json:"reserved"` // end of the last file
	Known    int64  `json:"known"`    // end of the furthest record that a queue points at
}

// Summary reads the parts of the directory that tell its state. Of queues and log it reads ends only, so it is quick.
func (s *Store) Summary() (*Summary, error) {
	sum := &Summary{}
	pid, err := fs.ReadFile(s.root, "abort")
	sum.Abort = err == nil
	sum.AbortPID = strings.TrimSpace(string(pid))
	queues, err := s.Queues()
	if err != nil {
		return nil, err
	}
	var known int64
	for i, q := range queues {
		if i == 0 || queues[i-1].Topic != q.Topic {
			sum.Topics++
		}
		sum.Queues++
		sum.Messages += q.Max - q.Min
		known = max(known, q.known)
		if q.Fault != "" {
			sum.Faults = append(sum.Faults, fmt.Sprintf("queue %s/%d: %s", q.Topic, q.ID, q.Fault))
		}
	}
	sum.Log = Log{Files: len(s.log.files), Min: s.log.min(), Reserved: s.log.max(), End: s.logEnd(known), Known: known}
	if n := len(s.log.files); n > 0 {
		sum.Log.First, sum.Log.Last, sum.Log.FileSize = s.log.files[0].name, s.log.files[n-1].name, s.log.files[0].len
	}
	sum.RocksDB = RocksDirs(s.root)
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			sum.Faults = append(sum.Faults, what+": "+err.Error())
		}
	}
	sum.Checkpoint, err = s.Checkpoint()
	note("checkpoint", err)
	sum.Indexes, err = s.Indexes()
	note("index", err)
	sum.Configs, err = s.Configs()
	note("config", err)
	return sum, nil
}

// RocksDirs are the folders of a directory that are RocksDB databases in which a broker keeps queues or configuration.
func RocksDirs(root fs.FS) []string {
	var out []string
	for _, dir := range []string{simpleDir, "consumequeue_rocksdb", "config/topics", "config/metadata", "config/rdb"} {
		if _, err := fs.Stat(root, path.Join(dir, "CURRENT")); err == nil {
			out = append(out, dir)
		}
	}
	return out
}

// Checkpoint is the file of that name (spec: store.md 6.1). Times are milliseconds since 1970.
type Checkpoint struct {
	PhysicTime     int64 `json:"physicMsgTimestamp"`
	LogicsTime     int64 `json:"logicsMsgTimestamp"`
	IndexTime      int64 `json:"indexMsgTimestamp"`
	MasterFlushed  int64 `json:"masterFlushedOffset"`
	ConfirmOffset  int64 `json:"confirmPhyOffset"`
	LogicsPhysical int64 `json:"logicsPhysicalOffset"`
}

// Checkpoint reads the checkpoint; a file of an older broker may lack its last number.
func (s *Store) Checkpoint() (*Checkpoint, error) {
	f, err := s.root.Open("checkpoint")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b [48]byte
	n, err := io.ReadFull(f, b[:])
	if err != nil && n < 40 {
		return nil, fmt.Errorf("%d bytes: %w", n, err)
	}
	return ParseCheckpoint(b[:n])
}

// Index is the header of an index file (spec: store.md 5).
type Index struct {
	Name       string `json:"name"`
	Size       int64  `json:"size"`
	BeginTime  int64  `json:"beginTimestamp"`
	EndTime    int64  `json:"endTimestamp"`
	BeginPhys  int64  `json:"beginPhyOffset"`
	EndPhys    int64  `json:"endPhyOffset"`
	SlotsUsed  int32  `json:"hashSlotCount"`
	IndexCount int32  `json:"indexCount"` // one more than entries
}

// Indexes reads the headers of the index files, oldest first.
func (s *Store) Indexes() ([]Index, error) {
	entries, err := fs.ReadDir(s.root, "index")
	if err != nil {
		return nil, err
	}
	var out []Index
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 64); err != nil || e.IsDir() {
			continue
		}
		ix, err := s.index(e)
		if err != nil {
			return out, fmt.Errorf("%s: %w", e.Name(), err)
		}
		out = append(out, ix)
	}
	return out, nil
}

func (s *Store) index(e fs.DirEntry) (Index, error) {
	info, err := e.Info()
	if err != nil {
		return Index{}, err
	}
	f, err := s.root.Open(path.Join("index", e.Name()))
	if err != nil {
		return Index{}, err
	}
	defer f.Close()
	var b [IndexHeadSize]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return Index{}, err
	}
	ix, err := ParseIndexHeader(b[:])
	ix.Name, ix.Size = e.Name(), info.Size()
	return ix, err
}

// Config is one file of the folder config.
type Config struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// Configs lists the files of the folder config.
func (s *Store) Configs() ([]Config, error) {
	entries, err := fs.ReadDir(s.root, "config")
	if err != nil {
		return nil, err
	}
	var out []Config
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return out, err
		}
		if info.Mode().IsRegular() {
			out = append(out, Config{Name: e.Name(), Size: info.Size(), Modified: info.ModTime()})
		}
	}
	return out, nil
}

// ReadConfig is the text of one file of the folder config.
func (s *Store) ReadConfig(name string) ([]byte, error) {
	if path.Base(name) != name {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrInvalid)
	}
	return fs.ReadFile(s.root, path.Join("config", name))
}
