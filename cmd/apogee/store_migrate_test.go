package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apogee/store/migrate"
)

// Directories of Java brokers are copied whole, with the same files and with others; a second look at the copy finds nothing to repair.
func TestMigrateGoldenDirectories(t *testing.T) {
	for _, name := range []string{"clean", "segments", "propcrc"} {
		t.Run(name, func(t *testing.T) {
			dir, conf := golden(t, name)
			var digests []string
			for i, args := range [][]string{
				{},
				{"--mappedFileSizeCommitLog", "32MB", "--mappedFileSizeConsumeQueue", "2000"},
				{"--mappedFileSizeConsumeQueue", "200", "--dst-commitlog", filepath.Join(t.TempDir(), "log")},
			} {
				dst := filepath.Join(t.TempDir(), "copy")
				code, stdout, stderr := call(slices.Concat([]string{"store", "migrate", "--json", "-c", conf}, args, []string{dir, dst})...)
				var rep migrate.Report
				if err := json.Unmarshal([]byte(stdout), &rep); code != 0 || err != nil {
					t.Fatalf("%v: code %d, %s", args, code, stderr)
				}
				if rep.Records == 0 || rep.Queues == 0 || rep.Rewritten != (i == 1) {
					t.Errorf("%v: %+v", args, rep)
				}
				digests = append(digests, rep.Digest)
				text, err := os.ReadFile(conf)
				if err != nil {
					t.Fatal(err)
				}
				copied := filepath.Join(t.TempDir(), "broker.conf")
				if err := os.WriteFile(copied, []byte(string(text)+"\n"+strings.Join(rep.Settings, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				if code, rep := repairOf(t, "--dry-run", copied, dst); code != 0 {
					t.Errorf("%v: the copy is to be repaired: %+v", args, rep.Steps)
				}
			}
			if digests[0] != digests[1] || digests[0] != digests[2] {
				t.Errorf("digests %v", digests)
			}
		})
	}
}

func TestMigrateUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"store migrate " + dir, 1, "expected SRC DST"},
		{"store migrate --limit fast a b", 1, "no size such as 100MB"},
		{"store migrate --mappedFileSizeCommitLog 4GB a b", 1, "below 2 GiB"},
		{"store migrate " + dir + "/none " + dir + "/b", 2, "no such file"},
	} {
		code, _, stderr := call(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: code %d, %s", c.args, code, stderr)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "20": 20, "1k": 1024, "100MB": 100 << 20, "2 GiB": 2 << 30} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "-1", "0", "1TB", "99999999999GB"} {
		if _, err := parseSize(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
