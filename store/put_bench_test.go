package store

import (
	"net/netip"
	"path"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// benchStore is a running store on the real file system, with 1 GiB files as by default.
func benchStore(b testing.TB, change func(*Options)) *Store {
	b.Helper()
	s := openReal(b, change)
	must(b, s.Start())
	b.Cleanup(func() { must(b, s.Close()) })
	return s
}

// openReal opens a store on the real file system.
func openReal(b testing.TB, change func(*Options)) *Store {
	b.Helper()
	o := Defaults()
	o.RootDir = b.TempDir()
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	must(b, err)
	return s
}

// processTime is what the process has used. On a shared machine it tells more than the wall clock.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// countCPU reports the processor time of an operation, all goroutines together.
func countCPU(b *testing.B) {
	before := processTime()
	b.Cleanup(func() { b.ReportMetric(float64(processTime()-before)/float64(b.N), "cpu-ns/op") })
}

var benchHost = netip.MustParseAddrPort("127.0.0.1:10911")

// benchMessage is what a Java client sends.
func benchMessage(size int) *record.Message {
	return &record.Message{
		Topic: "BenchTopic", BornTimestamp: 1_700_000_000_000, BornHost: benchHost, StoreHost: benchHost, Body: make([]byte, size),
		Properties: "UNIQ_KEY\x017F0000010001532A1F0C1B2A3F4D0001\x02WAIT\x01true\x02TAGS\x01TagA\x02",
	}
}

func BenchmarkPutAsync(b *testing.B) {
	s := benchStore(b, nil)
	m := benchMessage(1024)
	b.SetBytes(1024)
	b.ReportAllocs()
	countCPU(b)
	for b.Loop() {
		if r := s.Put(m, nil); r.Status != PutOK {
			b.Fatal(r.Err)
		}
	}
}

func BenchmarkPutAsyncParallel(b *testing.B) {
	s := benchStore(b, nil)
	b.SetBytes(1024)
	b.ReportAllocs()
	countCPU(b)
	var queue atomic.Int32
	b.RunParallel(func(pb *testing.PB) {
		m := benchMessage(1024)
		m.QueueID = queue.Add(1)
		for pb.Next() {
			if r := s.Put(m, nil); r.Status != PutOK {
				b.Error(r.Err)
				return
			}
		}
	})
}

func BenchmarkPutBatch32(b *testing.B) {
	s := benchStore(b, nil)
	m := benchMessage(0)
	items := make([]BatchItem, 32)
	for i := range items {
		items[i] = BatchItem{Body: make([]byte, 1024), Properties: m.Properties}
	}
	b.SetBytes(32 << 10)
	b.ReportAllocs()
	countCPU(b)
	for b.Loop() {
		if r := s.PutBatch(m, items, nil); r.Status != PutOK {
			b.Fatal(r.Err)
		}
	}
}

func BenchmarkPutSyncOne(b *testing.B) {
	s := benchStore(b, func(o *Options) { o.FlushDiskType = SyncFlush })
	m := benchMessage(1024)
	b.ReportAllocs()
	countCPU(b)
	for b.Loop() {
		if r := s.PutWait(m); r.Status != PutOK {
			b.Fatal(r.Err)
		}
	}
}

// window lets so many puts wait at once, as connections with requests in flight do.
type window chan struct{}

func (w window) Complete(PutStatus) { <-w }

func BenchmarkPutSync1024InFlight(b *testing.B) {
	s := benchStore(b, func(o *Options) { o.FlushDiskType = SyncFlush })
	m := benchMessage(1024)
	w := make(window, 1024)
	b.ReportAllocs()
	countCPU(b)
	for b.Loop() {
		w <- struct{}{}
		if r := s.Put(m, w); r.Status != PutOK {
			b.Fatal(r.Err)
		}
	}
	for range cap(w) {
		w <- struct{}{}
	}
}

// BenchmarkStartToFirstPut is a new broker's way from nothing to its first acknowledged message, and back to a clean stop.
func BenchmarkStartToFirstPut(b *testing.B) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		b.Run(string(mode), func(b *testing.B) {
			m, dir := benchMessage(1024), b.TempDir()
			var start time.Duration
			for b.Loop() {
				o := Defaults()
				o.RootDir, o.FlushDiskType = path.Join(dir, "store"), mode
				begun := time.Now()
				s, err := Open(o)
				must(b, err)
				must(b, s.Start())
				if r := s.PutWait(m); r.Status != PutOK {
					b.Fatal(r.Err)
				}
				start += time.Since(begun)
				must(b, s.Close())
				must(b, vfs.RemoveAll(vfs.OS(), o.RootDir)) // each takes a gigabyte and a half of the disk
			}
			b.ReportMetric(float64(start.Milliseconds())/float64(b.N), "ms-to-ack")
		})
	}
}

// BenchmarkStageGroup is what one batch of frames does: many are staged, the first of them is committed for all.
func BenchmarkStageGroup(b *testing.B) {
	s := benchStore(b, nil)
	m := benchMessage(1024)
	m.Found = m.Words()
	var group [64]PutResult
	b.SetBytes(int64(len(group)) << 10)
	b.ReportAllocs()
	countCPU(b)
	for b.Loop() {
		for i := range group {
			m.QueueID = int32(i % 8)
			if group[i] = s.Stage(m, nil); group[i].Status != PutOK {
				b.Fatal(group[i].Err)
			}
		}
		for i := range group {
			if err := s.Commit(&group[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
}
