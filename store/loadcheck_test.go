package store

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"apogee/store/record"
	"apogee/store/vfs"
)

// served reads T from an offset on as a lane does, and returns the offsets of what it got, and where it goes on.
func served(t *testing.T, s *Store, off int64, most int32) (got []int64, next int64, status GetStatus) {
	t.Helper()
	var res GetResult
	defer res.Release()
	s.Get(&GetRequest{Topic: "T", Offset: off, MaxCount: most, MaxBytes: 1 << 20, Each: true}, &res)
	res.Load()
	for _, region := range res.Regions {
		for len(region) > 0 {
			var h record.Header
			must(t, record.Parse(region, &h))
			if string(h.Body) != damageBody(int(h.QueueOffset)) {
				t.Errorf("message %d is %.20q", h.QueueOffset, h.Body)
			}
			got, region = append(got, h.QueueOffset), region[h.Size:]
		}
	}
	if len(got) != len(res.Offsets) || len(got) != res.Count {
		t.Errorf("%d messages, count %d, offsets %v", len(got), res.Count, res.Offsets)
	}
	return got, res.Next, res.Status
}

// What comes from the disk is checked before it is given out: a record that is damaged is left out, in this answer and in all that follow,
// and the rest of the queue is served.
func TestWhatComesFromTheDiskIsChecked(t *testing.T) {
	r, at := damageRig(t, true, SimpleQueue)
	for _, d := range []struct {
		message int
		byte    int64
	}{{11, 100}, {12, 4}, {14, 2}, {16, 100}, {60, 100}, {61, 100}, {62, 100}} {
		name, pos := inLog(at[d.message].PhysicalOffset)
		flip(t, r.mem, name, pos+d.byte, 4)
	}
	var log logLines
	r.opts.Log = slog.New(log.handler())
	for round := range 2 {
		s := r.open()
		if round == 0 {
			got, next, _ := served(t, s, 10, 8)
			if len(got) != 8 || got[0] != 10 || got[1] != 13 || got[2] != 15 || got[3] != 17 || next != got[7]+1 {
				t.Errorf("served %v, next %d", got, next)
			}
		}
		if _, release, err := s.View(at[11].PhysicalOffset); err == nil {
			release()
			t.Error("a damaged record can be viewed")
		}
		if got, next, status := served(t, s, 60, 3); len(got) != 3 || got[0] != 63 || next != 66 {
			t.Errorf("served %v, next %d, %v", got, next, status)
		}
		// Nobody has to look at the disk again to know.
		var res GetResult
		s.Get(&GetRequest{Topic: "T", Offset: 11, MaxCount: 1, MaxBytes: 1 << 20}, &res)
		if res.Status != Found || record.QueueOffsetOf(res.Regions[0]) != 13 {
			t.Errorf("%v, next %d", res.Status, res.Next)
		}
		res.Release()
		must(t, s.Close())
		if n := strings.Count(log.String(), "commit log is damaged"); n != 4 && round == 0 || n != 0 && round == 1 {
			t.Errorf("%d lines in round %d:\n%s", n, round, log.String())
		}
		log = logLines{}
	}
	// The parts are forgotten when they have been mended.
	name, pos := inLog(at[11].PhysicalOffset)
	flip(t, r.mem, name, pos+100, 4)
	s := r.open()
	if got, _, _ := served(t, s, 11, 2); len(got) != 2 || got[0] != 11 || got[1] != 13 {
		t.Errorf("served %v", got)
	}
	must(t, s.Close())
}

// An entry that says wrongly where its record is, or how long, hides no other message.
func TestEntriesThatSayWhatIsNotTrue(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, m *vfs.Mem){
		"where": func(t *testing.T, m *vfs.Mem) { flip(t, m, cqDir+fileName(0), 20*20+6, 1) }, // 256 bytes further
		"size":  func(t *testing.T, m *vfs.Mem) { flip(t, m, cqDir+fileName(0), 20*20+10, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := damageRig(t, true, SimpleQueue)
			damage(t, r.mem)
			for range 2 {
				s := r.open()
				got, next, status := served(t, s, 18, 6)
				for _, want := range []int64{18, 19, 21, 22, 23} {
					if !slices.Contains(got, want) {
						t.Errorf("served %v, next %d, %v", got, next, status)
					}
				}
				must(t, s.Close())
			}
		})
	}
}

func TestDamagedParts(t *testing.T) {
	var d damaged
	for _, e := range []extent{{50, 60}, {10, 20}, {30, 40}, {19, 25}, {60, 70}} {
		d = d.with(e)
	}
	want := []extent{{10, 25}, {30, 40}, {50, 70}}
	if len(d) != len(want) {
		t.Fatal(d)
	}
	for i := range want {
		if d[i] != want[i] {
			t.Fatal(d)
		}
	}
	for off, in := range map[int64]bool{9: false, 10: true, 24: true, 25: false, 39: true, 40: false, 69: true, 70: false} {
		if d.covers(off) != in {
			t.Errorf("%d: %v", off, !in)
		}
	}
}
