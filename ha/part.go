package ha

import (
	"errors"
	"fmt"
)

// What a slave does whose log is not the beginning of its master's: it has got what the master lost before it was on disk, or the two were
// masters in turn. It looks for the place up to where both are the same, which costs a dozen questions, takes away what is behind, and goes
// on from there. What it takes away has never been promised to anybody by this master.

// errParted says that the logs have nothing in common.
var errParted = errors.New("this log and its master's have nothing in common: delete the store of this replica to have it copied anew")

// window is what is compared at once. Logs that are the same at one place are the same before it: each was copied from the other.
const window = 4 << 10

// part finds the place, cuts this log there, and asks for what follows.
func (l *link) part(begin, end, mastersBegin int64) (from int64, err error) {
	mastersEnd, err := l.expect(ctlEnd)
	if err != nil {
		return 0, err
	}
	from, err = l.common(max(begin, mastersBegin), min(end, mastersEnd))
	if err != nil {
		return 0, fmt.Errorf("log from %d to %d, the master's from %d to %d: %w", begin, end, mastersBegin, mastersEnd, err)
	}
	if err := l.st.CutLog(from); err != nil {
		return 0, err
	}
	l.c.o.Log.Warn("this log is not the beginning of its master's and has been cut", "master", l.addr, "at", from, "end", end,
		"masters", mastersEnd, "bytes", end-from)
	l.reported = from
	if _, err := l.conn.Write(putWords(opFrom, from, 0)); err != nil {
		return 0, err
	}
	if mastersEnd, err = l.expect(ctlEnd); err != nil {
		return 0, err
	}
	l.c.mastersEnd.Store(mastersEnd)
	return l.expect(ctlWelcome)
}

// common is the end of the last record between two offsets up to which both logs are the same.
func (l *link) common(from, to int64) (int64, error) {
	low, high := int64(0), (to-from+window-1)/window // of windows, the last one that is known to be the same, and one that may be
	for low < high {
		mid := low + (high-low+1)/2
		start := from + (mid-1)*window
		same, err := l.same(start, min(start+window, to))
		if err != nil {
			return 0, err
		}
		if same {
			low = mid
		} else {
			high = mid - 1
		}
	}
	if low <= 0 {
		return 0, errParted
	}
	for at := min(from+low*window, to); ; {
		_, end := l.st.Bounds()
		if at == end {
			return at, nil
		}
		start, next, err := l.st.RecordAt(at)
		if err != nil {
			return 0, err
		}
		same := false
		if next <= to {
			if same, err = l.same(start, next); err != nil {
				return 0, err
			}
		}
		switch {
		case same:
			at = next
		case start <= from:
			return 0, errParted
		default:
			return start, nil
		}
	}
}

// same asks whether a range is the same in both logs.
func (l *link) same(from, to int64) (bool, error) {
	for from < to {
		n := min(to-from, compareMost)
		mine, err := l.sum(from, n)
		if err != nil {
			return false, err
		}
		if _, err := l.conn.Write(putWords(opCompare, from, n)); err != nil {
			return false, err
		}
		masters, err := l.expect(ctlSum)
		if err != nil || masters != int64(mine) {
			return false, err
		}
		from += n
	}
	return true, nil
}
