package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"apogee/store/inspect"
	"apogee/store/vfs"
)

// readNotes reads the file; one that cannot be read counts as empty, and is written anew.
func (r *run) readNotes() error {
	text, err := vfs.ReadFile(r.fs, path.Join(r.root, inspect.DamagedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		r.notes, _ = inspect.ParseDamaged(text)
	}
	return err
}

// noted tells whether what starts at an offset is known to be damaged.
func (r *run) noted(off int64) bool {
	return slices.ContainsFunc(r.notes, func(p inspect.DamagedPart) bool { return off >= p.From && off < p.To })
}

// note adds a part.
func (r *run) note(from, to int64) error {
	if slices.Contains(r.notes, inspect.DamagedPart{From: from, To: to}) {
		return nil
	}
	r.notes = append(r.notes, inspect.DamagedPart{From: from, To: to})
	text, err := json.MarshalIndent(r.notes, "", "\t")
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(r.fs, path.Join(r.root, inspect.DamagedFile), text); err != nil {
		return fmt.Errorf("note a damaged part: %w", err)
	}
	return nil
}
