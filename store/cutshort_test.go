package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"apogee/store/vfs"
)

// onDiskRig is a rig on a real disk: in memory nothing faults.
func onDiskRig(t *testing.T) *rig {
	r := newRig(t)
	r.opts.FS, r.opts.RootDir = vfs.OS(), t.TempDir()
	return r
}

// TestLogFileCutShort: what is not there any more is an error that names its file, and is not passed over. What is there is served.
func TestLogFileCutShort(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		r := onDiskRig(t)
		s := r.open()
		for range 6 {
			put(t, s, message("T", 0, strings.Repeat("x", 4000))) // two files
		}
		name := filepath.Join(r.opts.RootDir, "commitlog", fileName(0))
		if !mapped {
			for range 3 {
				s.unmapIdle()
			}
		}
		must(t, os.Truncate(name, 5000))
		s.checkLog()
		var res GetResult
		s.Get(&GetRequest{Topic: "T", Offset: 0, MaxCount: 1, MaxBytes: 1 << 20}, &res)
		if res.Status != Found || res.Err != nil {
			t.Fatalf("mapped %v: what is left: %v, %v", mapped, res.Status, res.Err)
		}
		s.Get(&GetRequest{Topic: "T", Offset: 1, MaxCount: 1, MaxBytes: 1 << 20}, &res)
		if res.Status == Found || res.Next != 1 || !errors.Is(res.Err, errCutShort) || !strings.Contains(res.Err.Error(), name) {
			t.Fatalf("mapped %v: %v, next %d, %v", mapped, res.Status, res.Next, res.Err)
		}
		if _, _, err := s.View(recordOf(t, s, 1)); !errors.Is(err, errCutShort) {
			t.Fatalf("mapped %v: %v", mapped, err)
		}
		if s.StoreTime("T", 0, 1) != -1 {
			t.Fatal("a store time of nothing")
		}
		if ok, why := s.Writable(); !ok {
			t.Fatalf("mapped %v: an old file closes the store: %s", mapped, why)
		}
		res.Release()
		must(t, os.Truncate(filepath.Join(r.opts.RootDir, "commitlog", fileName(16<<10)), 4096))
		s.checkLog()
		if ok, why := s.Writable(); ok || !strings.Contains(why, fileName(16<<10)) {
			t.Fatalf("mapped %v: the file that is written was cut: %v, %s", mapped, ok, why)
		}
		abandon(s)
	}
}

func recordOf(t *testing.T, s *Store, off int64) int64 {
	t.Helper()
	phys, _, ok := s.queues.get("T", 0).cq.recordOf(off)
	if !ok {
		t.Fatalf("no entry %d", off)
	}
	return phys
}

// TestQueueFileCutShort: entries that cannot be read are not passed over either.
func TestQueueFileCutShort(t *testing.T) {
	r := onDiskRig(t)
	s := r.open()
	for range 60 { // two files
		put(t, s, message("T", 0, "x"))
	}
	must(t, s.Close())
	s = r.open()
	var res GetResult
	s.Get(&GetRequest{Topic: "T", Offset: 0, MaxCount: 1, MaxBytes: 1 << 20}, &res)
	res.Release()
	name := filepath.Join(r.opts.RootDir, "consumequeue", "T", "0", fileName(0))
	must(t, os.Truncate(name, 0))
	s.Get(&GetRequest{Topic: "T", Offset: 20, MaxCount: 1, MaxBytes: 1 << 20}, &res)
	if res.Status == Found || res.Next != 20 || res.Err == nil || !strings.Contains(res.Err.Error(), name) {
		t.Fatalf("%v, next %d, %v", res.Status, res.Next, res.Err)
	}
	res.Release()
	abandon(s)
}

// TestUnreadableMessageIsNotPut: a message that is read from mapped memory while it is put, and is not there, costs this message only.
func TestUnreadableMessageIsNotPut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "body")
	must(t, os.WriteFile(name, make([]byte, 8192), 0o600))
	file, err := vfs.OS().Open(name)
	must(t, err)
	gone, err := file.MapRead(8192)
	must(t, err)
	defer gone.Unmap()
	must(t, errors.Join(file.Truncate(0), file.Close()))

	r := newRig(t)
	s := r.open()
	put(t, s, message("T", 0, "before"))
	func() {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if recover() == nil {
				t.Error("it was put")
			}
		}()
		m := message("T", 0, "")
		m.Body = gone.Bytes()[:100]
		lay, err := m.Measure(false)
		must(t, err)
		var res PutResult
		s.commit.put(&res, nil, m, lay, nil)
	}()
	put(t, s, message("T", 0, "after"))
	all := walkLog(t, s)
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	checkQueues(t, all)
	checkReads(t, s, all)
	must(t, s.Close())
}
