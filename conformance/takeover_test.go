package conformance

import (
	"context"
	"testing"
	"time"

	"apogee/conformance/takeover"
)

// TestTakeover has the two implementations take over a data directory from each other: bin/takeover-test, with 5 switches, or 50 with
// APOGEE_LONG=1.
func TestTakeover(t *testing.T) {
	t.Parallel()
	java, err := findJava()
	if err != nil {
		t.Skipf("SKIPPED, no directory went from one implementation to the other: %v; run it where Java is", err)
	}
	o := takeover.Options{
		First: needBinary(t), Second: java, Dir: t.TempDir(), Switches: 5, Phase: 2 * time.Second, Progress: t.Logf,
		Seed: uint64(time.Now().UnixNano()) % 1e9,
	}
	if long() {
		o.Switches, o.Phase = 50, 3*time.Second
	}
	t.Logf("seed %d", o.Seed)
	report, err := takeover.Run(context.Background(), o)
	t.Logf("%v", report)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(report.Differences); n > 0 {
		t.Errorf("%d differences", n)
	}
}
