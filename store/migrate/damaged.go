package migrate

import (
	"encoding/json"
	"fmt"
	"slices"

	"apogee/store/inspect"
)

// Damaged parts of the log move as the records do that they are made of: messages with damaged bodies, and what repair has wrapped the rest in.

// moved is a record of a damaged part.
type moved struct {
	Old  int64 `json:"old"`
	New  int64 `json:"new"`
	Size int64 `json:"size"`
}

// isDamaged tells whether an offset of the source's log is in a part that is noted as damaged.
func (r *run) isDamaged(off int64) bool {
	return slices.ContainsFunc(r.damaged, func(p inspect.DamagedPart) bool { return off >= p.From && off < p.To })
}

// noteMoved notes the new place of a record, if it is damaged. One that a killed run has written is noted once.
func (r *run) noteMoved(m moved) {
	if r.isDamaged(m.Old) && !slices.Contains(r.j.Damaged, m) {
		r.j.Damaged = append(r.j.Damaged, m)
	}
}

// misled is an error for an entry of a lost message that leads nowhere in the copy: to where there is no record in the source.
func (r *run) misled(off int64) error {
	if !r.isDamaged(off) || slices.ContainsFunc(r.j.Damaged, func(m moved) bool { return off >= m.Old && off < m.Old+m.Size }) {
		return nil
	}
	return fmt.Errorf("the entry of a lost message leads to %d, which is no record and has no place in a log of another file size: "+
		"leave mappedFileSizeCommitLog as it is, or set the queue's folder aside and run apogee store repair --apply on the source first", off)
}

// copyDamaged writes the list of damaged parts of the copy.
func (r *run) copyDamaged(name string) error {
	parts := []inspect.DamagedPart{}
	for _, m := range r.j.Damaged {
		if n := len(parts); n > 0 && parts[n-1].To == m.New {
			parts[n-1].To += m.Size
		} else {
			parts = append(parts, inspect.DamagedPart{From: m.New, To: m.New + m.Size})
		}
	}
	text, err := json.MarshalIndent(parts, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(r.FS, name, text)
}
