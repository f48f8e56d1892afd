package takeover

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
}

// alone has Apogee take over from itself.
func alone(ctx context.Context, t *testing.T, o Options) (*Report, error) {
	t.Helper()
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	o.First, o.Second, o.Dir, o.Phase = testkit.Apogee{Bin: bin}, testkit.Apogee{Bin: bin}, t.TempDir(), 400*time.Millisecond
	return Run(ctx, o)
}

// The driver finds nothing where nothing is lost. With the second seed the log's first segment is deleted after all has been read.
func TestApogeeTakesOverFromItself(t *testing.T) {
	for _, seed := range []uint64{1, 3} {
		report, err := alone(t.Context(), t, Options{Seed: seed, Switches: 3, Progress: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range report.Differences {
			t.Error(d)
		}
	}
}

// The driver sees what is lost between two brokers.
func TestWhatIsLostIsSeen(t *testing.T) {
	config := func(name string, change func(string) string) func(string) error {
		return func(store string) error {
			path := filepath.Join(store, "config", name)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(change(string(b))), 0o644)
		}
	}
	for name, c := range map[string]struct {
		between func(store string) error
		want    string
	}{
		"topic":  {config("topics.json", func(s string) string { return strings.ReplaceAll(s, `"order":true`, `"order":false`) }), "topic TakeoverOrder is"},
		"group":  {config("subscriptionGroup.json", func(s string) string { return strings.ReplaceAll(s, "TakeoverOnly0", "TakeoverOnlyX") }), "group TakeoverOnly0 is"},
		"offset": {config("consumerOffset.json", func(s string) string { return strings.ReplaceAll(s, "@TakeoverGroup1", "@Other") }), "offset of TakeoverGroup1"},
		"log": {func(store string) error {
			return flip(filepath.Join(store, "commitlog", "00000000000000000000"), []byte("plain-0-a-"))
		}, "record"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := testkit.Props{"enableLmq": "false", "mappedFileSizeCommitLog": "67108864", "enabledAppendPropCRC": "false"}
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := alone(ctx, t, Options{Seed: 3, Switches: 1, Conf: conf, Between: c.between, Progress: func(format string, _ ...any) {
				if strings.HasPrefix(format, "DIFFERENCE") { // that is enough
					cancel()
				}
			}})
			cancel()
			if !strings.Contains(strings.Join(r.Differences, "\n"), c.want) {
				t.Errorf("differences %q, want one with %q", r.Differences, c.want)
			}
		})
	}
}

// flip changes a byte behind the first place that holds some bytes.
func flip(path string, at []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if i := bytes.Index(b, at); i >= 0 {
		b[i+len(at)] ^= 1
	}
	return os.WriteFile(path, b, 0o644)
}
