package compare_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/compare"
	"apogee/store/verify"
)

func diff(t *testing.T, a, b string) (*compare.Result, []compare.Difference) {
	t.Helper()
	var list []compare.Difference
	res, err := compare.Run(context.Background(), compare.Options{
		A: verify.Options{Root: os.DirFS(a)}, B: verify.Options{Root: os.DirFS(b)}, Report: func(d compare.Difference) { list = append(list, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return res, list
}

func TestDirectoryWithItself(t *testing.T) {
	for _, name := range []string{"clean", "segments", "v4", "torn"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(testkit.Golden(t, name, nil), "store")
			res, list := diff(t, dir, dir)
			if !res.Same || len(list) > 0 || res.A.Messages < 400 || res.A.Messages != res.B.Messages || name == "clean" && res.A.Timers == 0 {
				t.Errorf("%+v: %+v", res, list)
			}
		})
	}
}

// TestOtherPlaces compares what the killed broker left with the same but for a torn end: 50 entries of queues are missing there.
func TestOtherPlaces(t *testing.T) {
	res, list := diff(t, filepath.Join(testkit.Golden(t, "crash", nil), "store"), filepath.Join(testkit.Golden(t, "torn", nil), "store"))
	if res.Same || len(list) != 2 || list[0].What != "queue" || list[0].Name != "Hot_s11/0" || res.A.Messages != res.B.Messages+50 {
		t.Errorf("%+v: %+v", res, list)
	}
}

func TestDifferences(t *testing.T) {
	dir := filepath.Join(testkit.Golden(t, "clean", nil), "store")
	for _, tc := range []struct {
		what   string
		change func(dir string) error
		want   string // the first difference
		n      int
	}{
		{"a message", func(dir string) error { return poke(dir, "consumequeue/Props_s11/0/00000000000000000000", 5*20+11, 1) }, "", 0}, // its entry's size
		{"a byte of a message", func(dir string) error { return poke(dir, "commitlog/00000000000000000000", 48, 1) }, "message", 1},
		{"the last message of a queue", func(dir string) error { return wipe(dir, "consumequeue/Order_s11/0/00000000000000000000", -1) }, "queue", 1},
		{"a message in a queue", func(dir string) error { return wipe(dir, "consumequeue/Order_s11/0/00000000000000000000", 1) }, "message", 1},
		{"a queue", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "consumequeue/Order_s11/0")) }, "queue", 1},
		{"a topic", func(dir string) error { return edit(dir, "topics.json", "\"perm\":6", "\"perm\":4") }, "topics.json", 1},
		{"offsets", func(dir string) error { return edit(dir, "lmqConsumerOffset.json", "0:", "7:") }, "lmqConsumerOffset.json", 2},
		{"delay offsets", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "config/delayOffset.json"), []byte(`{"offsetTable":{1:0}}`), 0o644)
		}, "delayOffset.json", 1},
		{"a table that is taken from its backup", func(dir string) error { return os.Remove(filepath.Join(dir, "config/subscriptionGroup.json")) }, "", 0},
		{"timers", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "timerlog")) }, "timers", 5},
	} {
		t.Run(tc.what, func(t *testing.T) {
			other := filepath.Join(testkit.Golden(t, "clean", nil), "store")
			if err := tc.change(other); err != nil {
				t.Fatal(err)
			}
			res, list := diff(t, dir, other)
			switch {
			case tc.n == 0 && !res.Same:
				t.Errorf("differ: %+v", list)
			case tc.n > 0 && (len(list) == 0 || list[0].What != tc.want || len(list) < tc.n):
				t.Errorf("%+v: %+v", res, list)
			}
			if back, other := diff(t, other, dir); len(other) != len(list) || back.Same != res.Same {
				t.Errorf("the other way round: %+v, and not %+v", other, list)
			}
		})
	}
}

// poke changes a bit.
func poke(dir, name string, at int64, bits byte) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= bits
	_, err = f.WriteAt(b[:], at)
	return err
}

// wipe clears the n-th entry of a queue, or the last one.
func wipe(dir, name string, n int64) error {
	name = filepath.Join(dir, name)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if n < 0 {
		for n = 0; data[(n+1)*20+11] != 0 || data[(n+1)*20+10] != 0; n++ {
		}
	}
	clear(data[n*20 : n*20+20])
	return os.WriteFile(name, data, 0o644)
}

// edit replaces the first of a text.
func edit(dir, name, old, now string) error {
	name = filepath.Join(dir, "config", name)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for i := range data {
		if i+len(old) <= len(data) && string(data[i:i+len(old)]) == old {
			return os.WriteFile(name, append(append(data[:i:i], now...), data[i+len(old):]...), 0o644)
		}
	}
	return fmt.Errorf("%s has no %s", name, old)
}
