package store

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestOptionDefaults is about the reading of the tags; TestOptionKeysAreJavas about what is in them.
func TestOptionDefaults(t *testing.T) {
	o := Defaults()
	for key, want := range map[string]any{
		"mappedFileSizeCommitLog": int64(1 << 30), "mappedFileSizeConsumeQueue": int64(6_000_000), "flushDiskType": AsyncFlush, "brokerRole": AsyncMaster,
		"maxMessageSize": 4 << 20, "fileReservedTime": int64(72), "deleteWhen": "04", "messageIndexEnable": true, "enabledAppendPropCRC": false,
		"syncFlushTimeout": int64(5000), "maxHashSlotNum": int32(5_000_000), "cleanFileForciblyEnable": true, "checkCRCOnRecover": true,
	} {
		if got := field(t, &o, key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
}

func field(t *testing.T, o *Options, key string) any {
	t.Helper()
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("prop") == key {
			return v.Field(i).Interface()
		}
	}
	t.Fatalf("no field for %s", key)
	return nil
}

// Every key and every default is in the table of keys that the configuration is checked against.
func TestOptionKeysAreJavas(t *testing.T) {
	table, err := os.ReadFile("../compat/properties/keys.tsv")
	must(t, err)
	defaults := map[string]string{}
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) > 3 && !strings.HasPrefix(line, "#") && strings.Contains(f[3], "b") {
			defaults[f[0]] = f[2]
		}
	}
	if len(defaults) < 100 {
		t.Fatalf("read only %d keys of the table", len(defaults))
	}
	typ := reflect.TypeFor[Options]()
	for i := range typ.NumField() {
		key, def := typ.Field(i).Tag.Get("prop"), typ.Field(i).Tag.Get("default")
		if key == "-" {
			continue
		}
		want, known := defaults[key]
		if !known {
			t.Errorf("%s is not a key of a broker", key)
		} else if want != def && !strings.HasPrefix(want, "(") && !strings.HasPrefix(want, "$") {
			t.Errorf("%s: default %q, the table says %q", key, def, want)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"storePathCommitLog=/a,/b":        func(o *Options) { o.CommitLogDir = "/a,/b" },
		"readOnlyCommitLogStorePaths=/a":  func(o *Options) { o.ReadOnlyPaths = "/a" },
		"duplicationEnable":               func(o *Options) { o.DuplicationEnable = true },
		"storePathRootDir":                func(o *Options) { o.RootDir = "" },
		"mappedFileSizeCommitLog=100":     func(o *Options) { o.MappedFileSizeCommitLog = 100 },
		"mappedFileSizeCommitLog=4294967": func(o *Options) { o.MappedFileSizeCommitLog = 1 << 32 },
		"maxMessageSize=-1":               func(o *Options) { o.MaxMessageSize = -1 },
		"maxIndexNum=1":                   func(o *Options) { o.MaxIndexNum = 1 },
		"flushIntervalConsumeQueue=-5":    func(o *Options) { o.FlushIntervalConsumeQueueMs = -5 },
		"mappedFileSizeConsumeQueue=-980": func(o *Options) { o.MappedFileSizeConsumeQueue = -1000 },
	} {
		r := newRig(t, change)
		_, err := Open(r.opts)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestZeroIsTheDefaultOrMeant(t *testing.T) {
	for _, whole := range []bool{false, true} {
		o := Options{RootDir: "/x", Whole: whole}
		if whole {
			o = Defaults()
			o.RootDir, o.FileReservedTimeHours = "/x", 0
		}
		got, err := o.prepared()
		must(t, err)
		if want := map[bool]int64{false: 72, true: 0}[whole]; got.FileReservedTimeHours != want {
			t.Errorf("whole %v: fileReservedTime is %d, want %d", whole, got.FileReservedTimeHours, want)
		}
		n := got
		n.FileReservedTimeHours = 0
		if want := map[bool]int64{false: 72, true: 0}[whole]; got.withHot(n).FileReservedTimeHours != want {
			t.Errorf("whole %v: changed to %d, want %d", whole, got.withHot(n).FileReservedTimeHours, want)
		}
	}
}

func TestReconfigureChangesOnlyWhatIsHot(t *testing.T) {
	s := newRig(t).open()
	defer s.Close()
	o := *s.options()
	o.FileReservedTimeHours, o.FlushDiskType, o.MappedFileSizeCommitLog, o.RootDir = 5, SyncFlush, 1<<20, "/elsewhere"
	s.Reconfigure(o)
	got := s.options()
	if got.FileReservedTimeHours != 5 || got.FlushDiskType != SyncFlush || got.MappedFileSizeCommitLog != 16<<10 || got.RootDir != "/data/store" {
		t.Fatalf("%+v", got)
	}
	if res := put(t, s, message("T", 0, "x")); s.flush.flushed.Load() < res.NextOffset {
		t.Fatal("SYNC_FLUSH did not take effect")
	}
}

func TestFlushDiskTypeAndRoleRefuseOtherWords(t *testing.T) {
	var f FlushDiskType
	var r Role
	if f.UnmarshalText([]byte("SYNC_FLUSH")) != nil || f != SyncFlush || f.UnmarshalText([]byte("sync")) == nil {
		t.Fatal(f)
	}
	if r.UnmarshalText([]byte("SLAVE")) != nil || r != Slave || r.UnmarshalText([]byte("master")) == nil {
		t.Fatal(r)
	}
}
