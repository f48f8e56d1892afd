package slave

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"apogee/broker/meta"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// kept is config/slaveKept.json: what is here although the master lacks it, and is to stay.
//
//	{"groups":["gA"],"topics":["tA","tB"]}
type kept struct {
	fs     vfs.FS
	name   string
	topics map[string]bool
	groups map[string]bool
}

type keptFile struct {
	Groups []string `json:"groups" fastjson:"nonnull"`
	Topics []string `json:"topics" fastjson:"nonnull"`
}

func loadKept(o *Options) (*kept, error) {
	k := &kept{fs: o.FS, name: path.Join(meta.ConfigDir(o.Dir), "slaveKept.json")}
	f := vfs.SmallFile{FS: o.FS, Name: k.name, Log: o.Log, Now: o.Now, Salvage: fastjson.Salvage}
	_, err := f.Load(func(text []byte) error {
		var f keptFile
		if err := fastjson.Unmarshal(text, &f); err != nil {
			return err
		}
		k.topics, k.groups = set(f.Topics), set(f.Groups)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %w", err)
	}
	return k, nil
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

func (k *kept) save() error {
	f := keptFile{Groups: slices.Sorted(maps.Keys(k.groups)), Topics: slices.Sorted(maps.Keys(k.topics))}
	if err := k.fs.MkdirAll(path.Dir(k.name)); err != nil {
		return fmt.Errorf("persist %s: %w", k.name, err)
	}
	return vfs.WriteFileAtomic(k.fs, k.name, fastjson.Marshal(&f))
}

// settle decides about names that are here and missing at the master: those that go, and those that are kept from now on. mayRemove says
// that the master's table is newer than the one here. changed tells whether what is kept is another set than before.
func settle(ours []string, theirs func(name string) bool, mayRemove bool, was map[string]bool) (remove []string, stays map[string]bool, changed bool) {
	stays = make(map[string]bool)
	for _, name := range ours {
		switch {
		case theirs(name):
		case mayRemove && !was[name]:
			remove = append(remove, name)
		default:
			stays[name] = true
		}
	}
	return remove, stays, !maps.Equal(stays, was)
}
