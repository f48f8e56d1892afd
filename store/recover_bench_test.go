package store

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"apogee/store/vfs"
)

// BenchmarkRecovery opens a directory of APOGEE_RECOVERY_MB (64 unless said otherwise) of messages of 1 KiB, in 100 queues: as a killed process
// leaves it, and without its consume queues.
func BenchmarkRecovery(b *testing.B) {
	mb, err := strconv.Atoi(os.Getenv("APOGEE_RECOVERY_MB"))
	if err != nil {
		mb = 64
	}
	dir := filepath.Join(b.TempDir(), "store")
	opts := Defaults()
	opts.FS, opts.RootDir = vfs.OS(), dir
	opts.MappedFileSizeCommitLog = 1 << 30
	s, err := Open(opts)
	must(b, err)
	must(b, s.Start())
	m := benchMessage(1024)
	for i := range mb << 20 / 1200 {
		m.QueueID = int32(i % 100)
		if r := s.PutWait(m); r.Status != PutOK {
			b.Fatal(r.Status, r.Err)
		}
	}
	must(b, s.Close())
	benchStarts(b, opts, int64(mb)<<20)
}

// BenchmarkRecoveryOfManyQueues is the same for a directory with APOGEE_QUEUES queues (2000 unless said otherwise), each of one message.
func BenchmarkRecoveryOfManyQueues(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("APOGEE_QUEUES"))
	if err != nil {
		n = 2000
	}
	opts := Defaults()
	opts.FS, opts.RootDir = vfs.OS(), filepath.Join(b.TempDir(), "store")
	opts.MappedFileSizeCommitLog = 1 << 30
	s, err := Open(opts)
	must(b, err)
	must(b, s.Start())
	m := benchMessage(100)
	for i := range n {
		m.Topic, m.QueueID = "Topic"+strconv.Itoa(i/8), int32(i%8)
		if r := s.PutWait(m); r.Status != PutOK {
			b.Fatal(r.Status, r.Err)
		}
	}
	for s.Close() != nil { // it gives up after a while, and the next start goes on
		s, err = Open(opts)
		must(b, err)
		must(b, s.Start())
	}
	benchStarts(b, opts, 0)
}

// benchStarts opens a directory in several states, and tells what is in the heap then.
func benchStarts(b *testing.B, opts Options, bytes int64) {
	remove := func(b *testing.B, names ...string) {
		for _, name := range names {
			must(b, vfs.RemoveAll(opts.FS, filepath.Join(opts.RootDir, name)))
		}
	}
	abort := filepath.Join(opts.RootDir, "abort")
	for _, c := range []struct {
		name  string
		ready func(b *testing.B)
	}{
		{"after a clean stop", func(*testing.B) {}},
		{"after a kill", func(b *testing.B) { must(b, writeMark(opts.FS, abort, "1")) }},
		{"after a kill without checkpoint", func(b *testing.B) {
			remove(b, "checkpoint")
			must(b, writeMark(opts.FS, abort, "1"))
		}},
		{"without queues", func(b *testing.B) { remove(b, "consumequeue", "abort") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(bytes)
			for range b.N {
				b.StopTimer()
				c.ready(b)
				b.StartTimer()
				s, err := Open(opts)
				must(b, err)
				must(b, s.Start())
				b.StopTimer()
				var mem runtime.MemStats
				runtime.ReadMemStats(&mem)
				b.ReportMetric(float64(mem.HeapInuse>>20), "heap-MB")
				if err := s.Close(); err != nil {
					b.Log(err)
				}
			}
		})
	}
}
