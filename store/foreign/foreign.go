// Package foreign recognises data directories that hold what a broker of files cannot read: queues, settings, pops, timers or
// transactions in RocksDB, a DLedger log, messages that were moved to another storage, a copy that is not finished.
//
// Opening such a directory would serve less than it holds, or begin again at offset 0, so [Check] refuses it, with what was found
// and the steps that lead out. Nothing is written. Where the other database is only a second copy of what stands in files too, it
// is reported and passed over. Start at [Look].
package foreign

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"apogee/store/vfs"
)

// Kind is what was found.
type Kind string

// The kinds. Only the first is harmless: what it names is in files as well.
const (
	DoubleQueues  Kind = "double-written queues"
	RocksQueues   Kind = "RocksDB queues"
	RocksConfig   Kind = "RocksDB configuration"
	RocksConfigV2 Kind = "RocksDB configuration v2"
	RocksPop      Kind = "RocksDB pops"
	RocksMessages Kind = "RocksDB index, timers or transactions"
	DLedger       Kind = "DLedger log"
	Tiered        Kind = "tiered storage"
	Unfinished    Kind = "unfinished copy"
)

// Finding is one thing that a broker of files does not read.
type Finding struct {
	Kind  Kind   `json:"kind"`
	Path  string `json:"path"`  // below the directory
	Holds string `json:"holds"` // what is there, in words
	Bars  bool   `json:"bars"`  // opening the directory would hide or lose something
}

// JournalFile is below the root of a directory that a copy is being made to; see store/migrate.
const JournalFile = "migrate.json"

// Where things are (StorePathConfigHelper, BrokerPathConfigHelper; spec: store.md 1, 16, 17, 23).
var (
	queueDirs  = []string{"consumequeue", "consumequeue_rocksdb"}
	configDirs = []string{"config/topics", "config/subscriptionGroups", "config/consumerOffsets", "config/metadata"}
)

const (
	configV2Dir  = "config/rdb"
	popDir       = "kvStore"
	messagesDir  = "rocksdbstore"
	tieredFile   = "config/tieredStoreMetadata.json"
	dledgerStart = "dledger-"
)

// Place is a directory and where its commit log is.
type Place struct {
	FS   vfs.FS
	Root string
	Log  string // folder of the commit log; empty is Root/commitlog
	// Setting reads a key of the broker's configuration; nil knows none. Keys say what the files do not: which queues were
	// written to one of the two places only.
	Setting func(key string) (value string, ok bool)
}

func (p Place) on(key string) bool {
	if p.Setting == nil {
		return false
	}
	v, _ := p.Setting(key)
	return strings.EqualFold(strings.TrimSpace(v), "true")
}

func (p Place) logDir() string {
	if p.Log != "" {
		return p.Log
	}
	return path.Join(p.Root, "commitlog")
}

// Look lists what a broker of files would not see. A directory that is not there holds nothing.
func Look(p Place) ([]Finding, error) {
	l := looker{p: p}
	l.queues()
	l.database(RocksConfig, "topics, groups and consumer offsets, which are in no other place", configDirs...)
	l.database(RocksConfigV2, "topics, groups and consumer offsets, which are in no other place", configV2Dir)
	l.data(RocksPop, popDir, "messages that were popped and are not acknowledged")
	l.data(RocksMessages, messagesDir, "an index, timers or transactions that are kept in RocksDB")
	l.dledger()
	l.file(Tiered, tieredFile, "the list of messages that were moved to another storage")
	l.file(Unfinished, JournalFile, "the journal of a copy that has not been finished")
	return l.found, errors.Join(l.err)
}

// Check is Look for whoever is about to open the directory: what bars is an error ([Refusal]), the rest is returned.
func Check(p Place) ([]Finding, error) {
	all, err := Look(p)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", p.Root, err)
	}
	r := &Refusal{Root: p.Root}
	var rest []Finding
	for _, f := range all {
		if f.Bars {
			r.Findings = append(r.Findings, f)
		} else {
			rest = append(rest, f)
		}
	}
	if len(r.Findings) > 0 {
		return rest, r
	}
	return rest, nil
}

type looker struct {
	p     Place
	found []Finding
	err   error
}

func (l *looker) add(f Finding) { l.found = append(l.found, f) }

// list is a directory's entries, none where there is no directory.
func (l *looker) list(dir string) []vfs.Info {
	infos, err := l.p.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.err = errors.Join(l.err, err)
	}
	return infos
}

// rocks is what tells a RocksDB database: CURRENT names its manifest.
type rocks struct {
	is     bool
	tables int   // files with data
	bytes  int64 // of tables and of logs that are not empty
}

func (l *looker) rocks(dir string) (r rocks) {
	for _, info := range l.list(path.Join(l.p.Root, dir)) {
		switch ext := path.Ext(info.Name); {
		case info.Dir:
		case info.Name == "CURRENT":
			r.is = true
		case ext == ".sst":
			r.tables++
			r.bytes += info.Size
		case ext == ".log":
			r.bytes += info.Size
		}
	}
	return r
}

func (r rocks) String() string { return fmt.Sprintf("%d tables, %d bytes", r.tables, r.bytes) }

// database reports databases that bar by being there: even without tables they may hold what matters, in their manifest or log.
func (l *looker) database(kind Kind, holds string, dirs ...string) {
	for _, dir := range dirs {
		if r := l.rocks(dir); r.is {
			l.add(Finding{Kind: kind, Path: dir, Holds: fmt.Sprintf("%s (%v)", holds, r), Bars: true})
		}
	}
}

// data reports a database that Java makes in any case, if something was put into it.
func (l *looker) data(kind Kind, dir, holds string) {
	if r := l.rocks(dir); r.is && r.bytes > 0 {
		l.add(Finding{Kind: kind, Path: dir, Holds: fmt.Sprintf("%s (%v)", holds, r), Bars: true})
	}
}

func (l *looker) file(kind Kind, name, holds string) {
	switch _, err := l.p.FS.Stat(path.Join(l.p.Root, name)); {
	case err == nil:
		l.add(Finding{Kind: kind, Path: name, Holds: holds, Bars: true})
	case !errors.Is(err, fs.ErrNotExist):
		l.err = errors.Join(l.err, err)
	}
}

// dledger looks for logs of DLedger: their records are wrapped, and stand in files of their own.
func (l *looker) dledger() {
	for _, info := range l.list(l.p.Root) {
		if !info.Dir || !strings.HasPrefix(info.Name, dledgerStart) {
			continue
		}
		var files int
		var bytes int64
		for _, f := range l.list(path.Join(l.p.Root, info.Name, "data")) {
			if _, err := strconv.ParseInt(f.Name, 10, 64); err == nil && !f.Dir {
				files++
				bytes += f.Size
			}
		}
		if files > 0 {
			l.add(Finding{
				Kind: DLedger, Path: info.Name + "/data", Bars: true,
				Holds: fmt.Sprintf("a commit log in DLedger's format, %d files with %d bytes", files, bytes),
			})
		}
	}
}

// queues looks for queues in RocksDB. They bar, unless every one is in files as well.
func (l *looker) queues() {
	for _, dir := range queueDirs {
		r := l.rocks(dir)
		if !r.is {
			continue
		}
		if why := l.missingInFiles(); why != "" {
			l.add(Finding{
				Kind: RocksQueues, Path: dir, Bars: true,
				Holds: fmt.Sprintf("the consume queues, which are not all in files: %s (%v)", why, r),
			})
			continue
		}
		l.add(Finding{Kind: DoubleQueues, Path: dir, Holds: fmt.Sprintf("a second copy of the consume queues (%v)", r)})
	}
}
