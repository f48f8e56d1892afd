package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"apogee/store/vfs"
)

// damagedFile is where a store notes the parts of the log that are not given to anybody.
const damagedFile = "damaged.json"

// damagedPart is one entry of it.
type damagedPart struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// readNotes reads the file; one that cannot be read counts as empty, and is written anew.
func (r *run) readNotes() error {
	text, err := vfs.ReadFile(r.fs, path.Join(r.root, damagedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && json.Unmarshal(text, &r.notes) != nil {
		r.notes = nil
	}
	return err
}

// noted tells whether what starts at an offset is known to be damaged.
func (r *run) noted(off int64) bool {
	return slices.ContainsFunc(r.notes, func(p damagedPart) bool { return off >= p.From && off < p.To })
}

// note adds a part.
func (r *run) note(from, to int64) error {
	if slices.Contains(r.notes, damagedPart{from, to}) {
		return nil
	}
	r.notes = append(r.notes, damagedPart{from, to})
	text, err := json.MarshalIndent(r.notes, "", "\t")
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(r.fs, path.Join(r.root, damagedFile), text); err != nil {
		return fmt.Errorf("note a damaged part: %w", err)
	}
	return nil
}
