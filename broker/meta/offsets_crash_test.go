package meta

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"apogee/store/vfs"
)

// TestOffsetsSurvivePowerCuts: after a kill or a power cut at whatever file operation, each offset is what it was at the last period's
// end, or later; it is never older, and never one that nobody has committed. Within a period clients only go forward here, so that older is
// smaller.
func TestOffsetsSurvivePowerCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewMem(now)
		if err := errors.Join(disk.MkdirAll("/store"), disk.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		type queue struct {
			group string
			id    int32
		}
		last := map[queue]int64{}    // committed
		durable := map[queue]int64{} // and persisted for sure
		for life := range rapid.IntRange(1, 4).Draw(t, "lives") {
			cut := rapid.Int64Range(1, 60).Draw(t, "operations until the cut")
			fs := vfs.Faulty(disk, vfs.FailNth(cut, true, errCut))
			o := newOffsets(disk, false)
			if err := o.Load(); err != nil {
				t.Fatalf("life %d: %v", life, err)
			}
			for q := range last {
				got, ok := o.Query(q.group, "T", q.id)
				if want, sure := durable[q]; sure && (!ok || got < want) {
					t.Fatalf("life %d: %v went back to %d %v, %d was on disk", life, q, got, ok, want)
				}
				if ok && got > last[q] {
					t.Fatalf("life %d: %v is %d, nobody committed more than %d", life, q, got, last[q])
				}
				delete(durable, q)
				if delete(last, q); ok {
					last[q], durable[q] = got, got
				}
			}
			o.file.fs = fs
			for alive := true; alive; {
				for range rapid.IntRange(0, 6).Draw(t, "commits of a period") {
					q := queue{fmt.Sprint("G", rapid.IntRange(0, 2).Draw(t, "group")), rapid.Int32Range(0, 2).Draw(t, "queue")}
					off := last[q] + rapid.Int64Range(0, 5).Draw(t, "step")
					o.Commit(q.group, "T", q.id, off)
					last[q] = off
				}
				if err := o.Persist(); err != nil {
					if !errors.Is(err, errCut) {
						t.Fatal(err)
					}
					break
				}
				for q, off := range last {
					durable[q] = off
				}
				alive = rapid.Bool().Draw(t, "another period")
			}
			if rapid.Bool().Draw(t, "the machine goes down") {
				disk = disk.CrashClone(rapid.Uint64().Draw(t, "seed"))
			} else {
				disk = disk.KillClone()
			}
		}
	})
}

var errCut = errors.New("power cut")
