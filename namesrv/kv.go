package namesrv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// orderTopicConfig is the one namespace that means something to the server: the fixed queue order of topics (NamesrvUtil).
const orderTopicConfig = "ORDER_TOPIC_CONFIG"

// kvStore holds the strings that operators keep with the name server, by namespace and key (Java: KVConfigManager), and the file they
// are in. Readers see snapshots that are never changed; a change is on disk before it can be seen. (Java changes memory first and
// forgets about a failed write.)
type kvStore struct {
	fs   vfs.FS
	path string

	table atomic.Pointer[map[string]map[string]string]

	mu     sync.Mutex // guards changes, and is held while the file is written
	extras fastjson.Extras
}

func openKV(fsys vfs.FS, file string, now func() time.Time, log *slog.Logger) (*kvStore, error) {
	k := &kvStore{fs: fsys, path: file}
	table := make(map[string]map[string]string)
	small := vfs.SmallFile{FS: fsys, Name: file, Log: log, Now: now, Salvage: fastjson.Salvage, Lost: "Keys behind the damage are lost"}
	_, err := small.Load(func(text []byte) error {
		var w body.KVConfigSerializeWrapper
		if err := fastjson.Unmarshal(text, &w); err != nil {
			return err
		}
		if w.ConfigTable != nil {
			table = w.ConfigTable
		}
		k.extras = w.Extras
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the KV store: %w", err)
	}
	k.table.Store(&table)
	return k, nil
}

// get returns a value.
func (k *kvStore) get(namespace, key string) (string, bool) {
	v, ok := (*k.table.Load())[namespace][key]
	return v, ok
}

// list returns a namespace, which must not be changed; nil if there is none.
func (k *kvStore) list(namespace string) map[string]string { return (*k.table.Load())[namespace] }

// put sets a value.
func (k *kvStore) put(namespace, key, value string) error {
	return k.change(namespace, func(table map[string]string) bool {
		table[key] = value
		return true
	})
}

// remove forgets a key. A namespace stays when its last key goes, as in Java.
func (k *kvStore) remove(namespace, key string) error {
	return k.change(namespace, func(table map[string]string) bool {
		_, had := table[key]
		delete(table, key)
		return had
	})
}

// change applies edit to a copy of a namespace; if it tells that something changed, the copy is written to disk and published.
func (k *kvStore) change(namespace string, edit func(map[string]string) bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	table := maps.Clone(*k.table.Load())
	keys := maps.Clone(table[namespace])
	if keys == nil {
		keys = make(map[string]string)
	}
	if !edit(keys) {
		return nil
	}
	table[namespace] = keys
	text := fastjson.Marshal(&body.KVConfigSerializeWrapper{ConfigTable: table, Extras: k.extras})
	if err := writeFile(k.fs, k.path, text); err != nil {
		return fmt.Errorf("write the KV store: %w", err)
	}
	k.table.Store(&table)
	return nil
}

// writeFile puts a file in the place of the one before, and makes the folders above it where they are missing; all of it survives a
// power cut.
func writeFile(fsys vfs.FS, name string, text []byte) error {
	if err := makeDir(fsys, path.Dir(name)); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, name, text)
}

func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := path.Dir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}
