package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/repair"
)

// golden unpacks a directory that a Java broker wrote.
func golden(t *testing.T, name string) (dir, conf string) {
	t.Helper()
	dir = testkit.Golden(t, name, nil)
	return filepath.Join(dir, "store"), filepath.Join(dir, "broker.conf")
}

// repairOf runs the command and returns its report.
func repairOf(t *testing.T, how, conf, dir string) (int, *repair.Report) {
	t.Helper()
	code, stdout, stderr := call("store", "repair", how, "--json", "-c", conf, dir)
	var rep repair.Report
	if err := json.Unmarshal([]byte(stdout), &rep); err != nil {
		t.Fatalf("code %d, %v: %s", code, err, stderr)
	}
	return code, &rep
}

// What Java brokers leave needs no repair but what a start would do as well. (4.9 drops the queue of half messages when any topic is deleted.)
func TestRepairFindsNothingInGoldenDirectories(t *testing.T) {
	for name, want := range map[string]string{
		"clean": "", "segments": "", "v4": "queue.entry", "crash": "abort", "torn": "log.tail abort", "rocksdb": "foreign foreign foreign foreign",
	} {
		t.Run(name, func(t *testing.T) {
			dir, conf := golden(t, name)
			code, rep := repairOf(t, "--dry-run", conf, dir)
			var kinds []string
			for _, s := range rep.Steps {
				kinds = append(kinds, string(s.Kind))
			}
			if got := strings.Join(kinds, " "); got != want || (code == 0) != (want == "") {
				t.Errorf("code %d, found %q, want %q: %+v", code, got, want, rep.Steps)
			}
			if name == "rocksdb" {
				return
			}
			if code, rep := repairOf(t, "--apply", conf, dir); code != 0 {
				t.Errorf("code %d: %+v", code, rep.Steps)
			}
			if code, rep := repairOf(t, "--dry-run", conf, dir); code != 0 || len(rep.Steps) != 0 {
				t.Errorf("again: code %d: %+v", code, rep.Steps)
			}
		})
	}
}

func TestRepairUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"store repair " + dir, 1, "say one of --dry-run and --apply"},
		{"store repair --apply", 1, "expected DIR"},
		{"store repair --apply " + dir + "/none", 2, "no such file"},
		{"store repair --dry-run -c " + dir + "/none " + dir, 2, "no such file"},
	} {
		code, _, stderr := call(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: code %d, %s", c.args, code, stderr)
		}
	}
	if code, stdout, stderr := call("store", "repair", "--dry-run", dir); code != 0 || !strings.Contains(stdout, "nothing to do") {
		t.Errorf("empty directory: code %d, %s%s", code, stdout, stderr)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("a look has made %v", entries)
	}
}
