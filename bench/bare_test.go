package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestBareLoops(t *testing.T) {
	for _, row := range []struct {
		name string
		run  func(context.Context, BareOptions) (Result, error)
		o    BareOptions
	}{
		{"one at a time", BareSync, BareOptions{Record: 1024, Group: 1, Count: 5}},
		{"groups", BareSync, BareOptions{Record: 1024, Group: 64, Count: 128}},
		{"append", BareAppend, BareOptions{Record: 64 << 10, Group: 1, Count: 10}},
		{"append to warm pages, around the end", BareAppend, BareOptions{Record: 16 << 20, Group: 1, Count: 9, Warm: true}},
		{"for a time", BareAppend, BareOptions{Record: 1024, Group: 1, Duration: 10 * time.Millisecond, Warm: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.o.Dir = t.TempDir()
			res, err := row.run(t.Context(), row.o)
			if err != nil {
				t.Fatal(err)
			}
			want := row.o.Count
			if want == 0 {
				want = res.Messages
			}
			if res.Messages != want || want == 0 || res.Bytes != want*int64(row.o.Record) || res.Requests != want/int64(row.o.Group) {
				t.Errorf("%d records of %d bytes in %d writes, want %d", res.Messages, res.Bytes, res.Requests, want)
			}
			if res.Rate <= 0 || res.Send.Count != res.Requests || res.Send.P50 <= 0 {
				t.Errorf("rate %f, delays %+v", res.Rate, res.Send)
			}
			if runtime.GOOS == "linux" && (res.BrokerCPU <= 0 || res.CPUPerKiB() <= 0) {
				t.Errorf("CPU %f us a record, %f a KiB", res.BrokerCPU, res.CPUPerKiB())
			}
			left, err := os.ReadDir(row.o.Dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestBareRefusals(t *testing.T) {
	for name, o := range map[string]BareOptions{
		"no record": {Group: 1, Count: 1}, "no group": {Record: 1, Count: 1}, "no end": {Record: 1, Group: 1},
		"too big": {Record: 1 << 20, Group: 100, Count: 1}, "no folder": {Record: 1, Group: 1, Count: 1, Dir: "/nowhere/at/all"},
	} {
		if o.Dir == "" {
			o.Dir = t.TempDir()
		}
		if _, err := BareSync(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := BareAppend(ctx, BareOptions{Dir: t.TempDir(), Record: 1, Group: 1, Duration: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run ends with %v", err)
	}
}
