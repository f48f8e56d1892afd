package store

import (
	"os"
	"path/filepath"
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
	remove := func(b *testing.B, names ...string) {
		for _, name := range names {
			must(b, vfs.RemoveAll(opts.FS, filepath.Join(dir, name)))
		}
	}
	for _, c := range []struct {
		name  string
		ready func(b *testing.B)
	}{
		{"after a clean stop", func(*testing.B) {}},
		{"after a kill", func(b *testing.B) { must(b, writeMark(opts.FS, filepath.Join(dir, "abort"), "1")) }},
		{"without queues", func(b *testing.B) { remove(b, "consumequeue", "abort") }},
		{"after a kill without checkpoint", func(b *testing.B) {
			remove(b, "checkpoint", "consumequeue")
			must(b, writeMark(opts.FS, filepath.Join(dir, "abort"), "1"))
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(mb) << 20)
			for range b.N {
				b.StopTimer()
				c.ready(b)
				b.StartTimer()
				s, err := Open(opts)
				must(b, err)
				must(b, s.Start())
				b.StopTimer()
				must(b, s.Close())
			}
		})
	}
}
