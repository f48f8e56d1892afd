package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/compat/properties"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/doctor"
	"apogee/store/foreign"
	"apogee/store/vfs"
)

// examine looks at a golden directory with its own configuration, changed by more.
func examine(t *testing.T, dir string, change func(set func(key, value string), o *doctor.Options)) *doctor.Report {
	t.Helper()
	conf, err := testkit.GoldenConf(dir)
	if err != nil {
		t.Fatal(err)
	}
	settings := properties.New("test")
	for k, v := range conf {
		settings.Set(k, v)
	}
	root := filepath.Join(dir, "store")
	o := doctor.Options{
		Root: os.DirFS(root), Conf: store.Defaults(), Timer: 5200, Now: func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) },
		Access: func(string) error { return nil }, Setting: settings.Get,
		Usage: func() (map[string]vfs.Usage, error) {
			return map[string]vfs.Usage{"disk": {Used: 1 << 40, Total: 4 << 40}}, nil
		},
	}
	if change != nil {
		change(settings.Set, &o)
	}
	if _, err := properties.Bind(settings, &o.Conf); err != nil {
		t.Fatal(err)
	}
	if o.Foreign, err = foreign.Look(foreign.Place{FS: vfs.OS(), Root: root, Setting: settings.Get}); err != nil {
		t.Fatal(err)
	}
	r, err := doctor.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func of(r *doctor.Report, status doctor.Status) (names []string) {
	for _, c := range r.Checks {
		if c.Status == status && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestGoldenDirectories(t *testing.T) {
	for _, tc := range []struct {
		name, writer string
		safe         bool
		bad, warn    string
	}{
		{"clean", "Java broker of 5.4", true, "", ""},
		{"crash", "Java broker of 5.4", true, "", "last stop"},
		{"segments", "Java broker of 5.4", true, "", ""},
		{"v4", "Java broker of 4.x", true, "", ""},
		{"propcrc", "Java broker of 5.4", true, "", ""},
		{"rocksdb", "Java broker of 5.4", false, "other storage", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := examine(t, testkit.Golden(t, tc.name, nil), nil)
			if r.Safe != tc.safe || !strings.Contains(r.Writer, tc.writer) || !strings.Contains(strings.Join(of(r, doctor.Bad), ","), tc.bad) {
				t.Errorf("%+v", r)
			}
			if warn := strings.Join(of(r, doctor.Warn), ","); tc.safe && warn != tc.warn {
				t.Errorf("warns of %s: %+v", warn, r.Checks)
			}
			if (r.Verdict == "safe to open") != (tc.safe && tc.warn == "") || len(r.Changes) == 0 {
				t.Errorf("verdict %q, changes %q", r.Verdict, r.Changes)
			}
		})
	}
}

// TestSettingsThatDoNotFit examines one directory with configurations that it was not written with.
func TestSettingsThatDoNotFit(t *testing.T) {
	dir := testkit.Golden(t, "clean", nil)
	for _, tc := range []struct {
		key, value string
		status     doctor.Status
		name       string
	}{
		{"mappedFileSizeCommitLog", "1073741824", doctor.Bad, "commit log"},
		{"mappedFileSizeConsumeQueue", "6000000", doctor.Bad, "consume queues"},
		{"mapperFileSizeBatchConsumeQueue", "13800000", doctor.Bad, "batch queues"},
		{"maxIndexNum", "20000000", doctor.Bad, "index"},
		{"compactionCqMappedFileSize", "10485760", doctor.Bad, "compaction logs"},
		{"enableLmq", "false", doctor.Bad, "consumer offsets"},
		{"enableCompaction", "false", doctor.Warn, "compaction"},
		{"fileReservedTime", "72", doctor.OK, "commit log"},
		{"storeType", "defaultRocksDB", doctor.Bad, "storeType"},
		{"enableControllerMode", "true", doctor.Bad, "replication"},
		{"enableDLegerCommitLog", "true", doctor.Bad, "replication"},
		{"brokerRole", "SLAVE", doctor.Info, "replication"},
	} {
		r := examine(t, dir, func(set func(string, string), _ *doctor.Options) { set(tc.key, tc.value) })
		if !slices.Contains(of(r, tc.status), tc.name) || r.Safe == (tc.status == doctor.Bad) {
			t.Errorf("%s=%s: %+v", tc.key, tc.value, r)
		}
	}
	for what, change := range map[string]func(o *doctor.Options){
		"in use":      func(o *doctor.Options) { o.Holder = "process 7" },
		"permissions": func(o *doctor.Options) { o.Access = func(string) error { return os.ErrPermission } },
		"disk space": func(o *doctor.Options) {
			o.Usage = func() (map[string]vfs.Usage, error) { return map[string]vfs.Usage{"disk": {Used: 99, Total: 100}}, nil }
		},
	} {
		r := examine(t, dir, func(_ func(string, string), o *doctor.Options) { change(o) })
		if r.Safe || !slices.Contains(of(r, doctor.Bad), what) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	for what, do := range map[string]func(root string) error{
		"files": func(root string) error {
			return errors.Join(os.Remove(root+"/config/topics.json"), os.Remove(root+"/config/topics.json.bak"), os.WriteFile(root+"/config/topics.json", []byte("{"), 0o644))
		},
		"controller mode": func(root string) error {
			return os.WriteFile(root+"/epochFileCheckpoint", []byte("1\n0\n1-0\n"), 0o644)
		},
		"damaged parts": func(root string) error {
			return os.WriteFile(root+"/damaged.json", []byte(`[{"from":7,"to":9}]`), 0o644)
		},
		"timer wheel": func(root string) error { return os.Truncate(root+"/timerwheel", 10) },
	} {
		dir := testkit.Golden(t, "clean", nil)
		if err := do(filepath.Join(dir, "store")); err != nil {
			t.Fatal(err)
		}
		if r := examine(t, dir, nil); !slices.Contains(append(of(r, doctor.Bad), of(r, doctor.Warn)...), what) {
			t.Errorf("%s: %+v", what, r)
		}
	}
}
