package migrate

import "sort"

// mapping says where offsets of the source's log are in the copy's: from the start of each piece on they have changed by the same amount.
// Without pieces nothing has changed.
type mapping []piece

type piece struct {
	Old int64 `json:"old"`
	New int64 `json:"new"`
}

// note adds the place of a record; records come in order.
func (m *mapping) note(old, now int64) {
	if n := len(*m); n > 0 && (*m)[n-1].New-(*m)[n-1].Old == now-old {
		return
	}
	*m = append(*m, piece{old, now})
}

// of is where the record at an offset is now. What was before the first record is gone, and stays below all that is there.
func (m mapping) of(old int64) int64 {
	if len(m) == 0 {
		return old
	}
	i := sort.Search(len(m), func(i int) bool { return m[i].Old > old })
	if i == 0 {
		return old
	}
	return m[i-1].New + old - m[i-1].Old
}
