package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apogee/ha"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "50MB/s": 50e6, "50mb": 50e6, " 1.5 GB/s": 15e8, "100": 100, "7B/s": 7, "3kb/S": 3000,
		"fast": -1, "0": -1, "-5MB/s": -1, "MB/s": -1, "1e30GB": -1, "NaN": -1,
	} {
		if got, err := parseRate(text); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	for want, c := range map[string]struct {
		s      ha.ClientStatus
		stored int64
	}{
		"":                                     {ha.ClientStatus{End: 5, MasterEnd: 5}, 0},
		"copied up to 1500, 0 B/s, 0 B behind": {ha.ClientStatus{Active: true, End: 1500, MasterEnd: 1200}, 0},
		"copied up to 1500, 2 KB/s, 1 MB behind, 8m20s to go, the last message is 1m30s old": {ha.ClientStatus{Active: true, End: 1500, MasterEnd: 1_001_500, PerSecond: 2000}, now.UnixMilli() - 90_000},
		"copied up to 7, 1.2 MB/s": {ha.ClientStatus{Active: true, End: 7, MasterEnd: -1, PerSecond: 1_200_000}, 0},
	} {
		if got := progress(&c.s, c.stored, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRebuildNeedsASlave(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "broker.conf")
	if err := os.WriteFile(conf, []byte("brokerName=b\nbrokerClusterName=c\nstorePathRootDir="+dir+"/store\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-c", conf}, {"-c", conf, "--master", "127.0.0.1:1"}, {"-c", conf, "--limit", "soon"}} {
		var out, errs strings.Builder
		if code := run(append([]string{"apogee", "replica", "rebuild"}, args...), &out, &errs); code == 0 {
			t.Errorf("%v: %s%s", args, out.String(), errs.String())
		}
	}
}
