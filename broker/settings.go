package broker

import (
	"bytes"
	"fmt"
	"path"
	"sync"
	"time"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/compat/properties"
	"apogee/store"
	"apogee/store/vfs"
)

// settings is the configuration as operators read and change it at run time (processor.Settings; behaviour.md 20).
//
// What was read at the start and what is in force differ: a change of a key that takes effect only at a start is kept, shown and
// written to the file, but the running broker goes on with the old value.
type settings struct {
	fs   vfs.FS
	now  func() time.Time
	live *config.Live

	// apply makes the hot part of new store options effective.
	apply func(store.Options)
	// permission hears that brokerPermission has changed.
	permission func()

	mu      sync.Mutex // guards what follows; held across the write of the file
	source  *properties.File
	broker  config.Broker // as the file says, which need not be what is in force
	store   store.Options
	version body.DataVersion
}

// Text is every key and its value, key=value a line, as Java's answer has it: nothing is escaped.
func (s *settings) Text() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.allLocked()
	if err != nil {
		return nil // the structs are ours; a test binds them
	}
	var b bytes.Buffer
	for _, e := range all.Entries() {
		fmt.Fprintf(&b, "%s=%s\n", e.Key, e.Value)
	}
	return b.Bytes()
}

func (s *settings) allLocked() (*properties.File, error) {
	return properties.Settings(properties.Broker, s.source, &s.broker, &s.store)
}

// Version counts the changes.
func (s *settings) Version() body.DataVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Update applies settings and rewrites the configuration file. Where a value cannot be read, nothing is applied.
func (s *settings) Update(f *properties.File) error {
	s.mu.Lock()
	changed, err := s.updateLocked(f)
	s.mu.Unlock()
	if changed {
		s.permission()
	}
	return err
}

func (s *settings) updateLocked(f *properties.File) (permissionChanged bool, err error) {
	nextBroker, nextStore := s.broker, s.store
	if _, err := properties.Apply(f, &nextBroker, &nextStore); err != nil {
		return false, err
	}
	if err := nextBroker.Validate(); err != nil {
		return false, err // the file that is written would keep the broker from starting
	}
	hot := f.Filter(hotKey(&nextBroker, &nextStore))
	inForce := *s.live.Get()
	before := inForce.Permission
	if _, err := properties.Apply(hot, &inForce); err != nil {
		return false, err
	}
	s.broker, s.store = nextBroker, nextStore
	s.source = properties.Merge("", s.source, f)
	s.live.Set(&inForce)
	s.apply(nextStore)
	s.version = s.version.Next(0, s.now())
	return before != inForce.Permission, s.writeLocked()
}

// hotKey tells the keys that take effect at once.
func hotKey(targets ...any) func(string) bool {
	hot := make(map[string]bool)
	fields, err := properties.Fields(targets...)
	if err != nil {
		return func(string) bool { return false }
	}
	for _, f := range fields {
		if f.Hot {
			hot[f.Key] = true
		}
	}
	return func(key string) bool { return hot[key] }
}

// writeLocked writes the whole configuration to the file that was read, or to Java's place where none was. The old text stays in .bak.
func (s *settings) writeLocked() error {
	all, err := s.allLocked()
	if err != nil {
		return err
	}
	name := s.broker.ConfigPath
	if name == "" {
		name = path.Join(s.broker.RootDir, "config", "broker.properties")
	}
	if err := s.fs.MkdirAll(path.Dir(name)); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := vfs.WriteFileAtomic(s.fs, name, all.Format()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
