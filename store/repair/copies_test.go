package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

const extFile = "consumequeue_ext/T0/0/00000000000000000000"

// extend moves the tags codes of a queue's first entries into an extension, as a Java broker with enableConsumeQueueExt has them.
func extend(t testing.TB, m *vfs.Mem) {
	t.Helper()
	queue, err := vfs.ReadFile(m, "/s/"+cq0)
	must(t, err)
	ext, be := make([]byte, 4096), binary.BigEndian
	at := 0
	for p := 0; p+20 <= len(queue) && be.Uint32(queue[p+8:]) > 0; p += 20 {
		u := ext[at:]
		be.PutUint16(u, 34)
		copy(u[2:10], queue[p+12:])
		be.PutUint16(u[18:], 14)
		be.PutUint64(queue[p+12:], 1<<63+uint64(at))
		at += 34
	}
	edit(t, m, cq0, 0, queue...)
	create(t, m, extFile, string(ext))
}

// compacting is a directory with a compaction topic of 30 messages, all of different keys, copied to its compaction log.
func compacting(t *testing.T, m *vfs.Mem) store.Options {
	t.Helper()
	o := options(m)
	o.EnableCompaction, o.CompactionCqMappedFileSize, o.CompactionMappedFileSize = true, 46*10, 1500
	o.QueueKind = func(topic string) store.QueueKind {
		return map[string]store.QueueKind{"C": store.CompactionQueue}[topic]
	}
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	host := netip.MustParseAddrPort("10.1.2.3:10911")
	for n := range 30 {
		r := s.PutWait(&record.Message{
			Topic: "C", BornHost: host, StoreHost: host, BornTimestamp: epoch.UnixMilli(),
			Body: []byte(strings.Repeat("x", 900)), Properties: fmt.Sprintf("KEYS\x01k%d\x02", n),
		})
		if r.Status != store.PutOK {
			t.Fatal(r.Err)
		}
	}
	waitCompacted(t, s)
	must(t, s.Close())
	return o
}

// waitCompacted waits until all messages are served from the compaction log.
func waitCompacted(t *testing.T, s *store.Store) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	var res store.GetResult
	for n := int64(0); n < 30; {
		s.Get(&store.GetRequest{Topic: "C", Offset: n, MaxCount: 32, MaxBytes: math.MaxInt32}, &res)
		if res.Status == store.Found {
			n = res.Next
		}
		res.Release()
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("message %d is not in the compaction log: %v", n, res.Status)
		}
	}
}

// A damaged compaction log is made again where the commit log has all of it; otherwise the report says what to do.
func TestCompactionLog(t *testing.T) {
	m := vfs.NewMem(func() time.Time { return epoch })
	o := compacting(t, m)
	run := func(m *vfs.Mem, apply bool) *Report {
		t.Helper()
		o := o
		o.FS = m
		rep, err := Run(Options{Store: o, Apply: apply})
		must(t, err)
		return rep
	}
	if rep := run(m.KillClone(), false); len(rep.Steps) != 0 {
		t.Fatalf("a sound one: %s", rep.text())
	}
	infos, err := m.ReadDir("/s/compaction/compactionLog/C/0")
	must(t, err)
	edit(t, m, "compaction/compactionLog/C/0/"+infos[0].Name, 100, '?')

	late := m.KillClone() // the commit log has lost its first messages to age
	must(t, late.Remove("/s/"+log0))
	rep := run(late, true)
	if kinds(rep) != "" || rep.Remains != 1 || rep.Steps[0].Kind != Compacted || !strings.Contains(rep.Steps[0].Do, "of a backup") {
		t.Errorf("%d remain: %s", rep.Remains, rep.text())
	}

	if rep := run(m, true); kinds(rep) != "compaction" || rep.Remains != 0 {
		t.Errorf("%s", rep.text())
	}
	if _, err := m.Stat("/s/compaction/compactionLog/C/0/" + infos[0].Name); err == nil {
		t.Error("the damaged log is still there")
	}
	o.FS = m
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	waitCompacted(t, s)
	must(t, errors.Join(s.Close()))
	if rep := run(m, false); len(rep.Steps) != 0 {
		t.Errorf("again: %s", rep.text())
	}
}
