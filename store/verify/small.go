package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"apogee/store/inspect"
)

// checkpointSize is the size of the checkpoint file.
const checkpointSize = 4096

// checkSmall looks at the small files below the root.
func (r *run) checkSmall() error {
	if r.res.Abort && !r.Live {
		r.report(Finding{Kind: Unclean, Level: Recoverable, File: "abort", At: -1, Text: "the store was not closed: the next start recovers it"})
	}
	if text, err := readLimited(r.Root, "abort", 1<<10); err == nil && len(text) > 0 {
		if _, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63); err != nil {
			r.small("abort", Note, "holds no process number; a start looks only whether it is there")
		}
	}
	if text, err := readLimited(r.Root, "lock", 1<<10); err == nil && len(text) > 0 && string(text) != "lock" {
		r.small("lock", Note, "holds something else than the word lock")
	}
	r.checkText("epochFileCheckpoint", func(text string) error { _, err := inspect.ParseEpochs(text); return err })
	for _, name := range []string{"brokerIdentity", "brokerIdentity-temp"} {
		r.checkText(name, func(text string) error { _, err := inspect.ParseIdentity(text); return err })
	}
	return r.readCheckpoint()
}

// checkText looks at a small text file, and at its backup where a start would take that.
func (r *run) checkText(name string, parse func(string) error) {
	r.checkConfig(name, func(_ *run, text []byte, _ bool) ([]string, error) { return nil, parse(string(text)) })
}

func (r *run) small(file string, level Level, text string) {
	r.report(Finding{Kind: SmallFile, Level: level, File: file, At: -1, Text: text})
}

func (r *run) readCheckpoint() error {
	b, err := readLimited(r.Root, "checkpoint", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		if len(r.log) > 0 {
			r.checkpointBad(Recoverable, -1, "is not there: a start after a crash reads more of the log than it had to")
		}
		return nil
	}
	if err != nil {
		r.unreadable("checkpoint", -1, err)
		return nil
	}
	cp, err := inspect.ParseCheckpoint(b)
	if err != nil {
		r.checkpointBad(Recoverable, -1, err.Error()+": a start reads it as zeros")
		return nil
	}
	r.cp = *cp
	if len(b) != checkpointSize {
		r.checkpointBad(Recoverable, -1, fmt.Sprintf("has %d bytes, not %d", len(b), checkpointSize))
	} else if !onlyZeros(b[48:]) {
		r.checkpointBad(Note, 48, "is not zero behind its six numbers")
	}
	for i, v := range cpNumbers(cp) {
		if v.value < 0 {
			r.checkpointBad(Damage, int64(8*i), fmt.Sprintf("%s is %d", v.name, v.value))
		}
	}
	return nil
}

func (r *run) checkpointBad(level Level, at int64, text string) {
	r.report(Finding{Kind: CheckpointBad, Level: level, File: "checkpoint", At: at, Text: text})
}

type number struct {
	name  string
	value int64
}

func cpNumbers(c *inspect.Checkpoint) []number {
	return []number{
		{"physicMsgTimestamp", c.PhysicTime},
		{"logicsMsgTimestamp", c.LogicsTime},
		{"indexMsgTimestamp", c.IndexTime},
		{"masterFlushedOffset", c.MasterFlushed},
		{"confirmPhyOffset", c.ConfirmOffset},
		{"logicsPhysicalOffset", c.LogicsPhysical},
	}
}

// checkMarks compares the checkpoint with the log, when that has been read.
func (r *run) checkMarks() {
	if r.Live {
		return // both move
	}
	if at := r.cp.LogicsPhysical; at > r.logEnd {
		r.checkpointBad(r.afterCrash(), 40, fmt.Sprintf("says that queues are built up to the record at %d, the log ends at %d", at, r.logEnd))
	} else if at >= r.logMin && at > 0 && at < r.logEnd && !r.startsAt(at) {
		r.checkpointBad(Damage, 40, fmt.Sprintf("says that queues are built up to the record at %d, where none starts", at))
	}
	if at := r.cp.ConfirmOffset; at > r.logEnd {
		r.checkpointBad(r.afterCrash(), 32, fmt.Sprintf("says that the log is confirmed up to %d, it ends at %d", at, r.logEnd))
	}
	for i, t := range []int64{r.cp.PhysicTime, r.cp.LogicsTime} {
		if r.newest > 0 && t > r.newest {
			r.checkpointBad(r.afterCrash(), int64(8*i), fmt.Sprintf("%s is %d, %d ms after the newest record of the log was stored", cpNumbers(&r.cp)[i].name, t, t-r.newest))
		}
	}
}

// startsAt tells whether a record starts at an offset of the log.
func (r *run) startsAt(off int64) bool {
	seg := find(r.log, off)
	if seg == nil {
		return false
	}
	var head [36]byte
	n, err := readAt(r.Log, seg.name, head[:], off-seg.base)
	return err == nil && n == len(head) && recordHead(head[:], off, seg.end()-off)
}
