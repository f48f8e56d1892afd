package faults

import (
	"os"
	"testing"

	"apogee/internal/leaktest"
)

func TestMain(m *testing.M) {
	Inside()
	leaktest.Main(m)
}

// many is a number of seeds: few, unless there is time.
func many(few, all uint64) uint64 {
	if os.Getenv("APOGEE_LONG") == "1" {
		return all
	}
	if testing.Short() {
		return few / 4
	}
	return few
}

func report(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		t.Errorf("seed %d: %s\n%s", f.Seed, f.Text, f.Log)
	}
}

func TestPowerCuts(t *testing.T) {
	for _, mode := range []Mode{Sync, Async} {
		f := PowerCuts(mode, 0, many(24, 1000))
		f.Print(t.Output())
		report(t, f.Findings)
		if f.Acked == 0 || f.Cuts == 0 || mode == Async && f.AsyncLost == 0 {
			t.Errorf("%s: nothing was tried", mode)
		}
	}
}

// These seeds have found something once. How goroutines take turns is not theirs to say, so each has a few tries.
func TestSeedsOfOld(t *testing.T) {
	for _, s := range []struct {
		seed uint64
		mode Mode
		was  string
	}{
		{98, Sync, "a queue whose first file was made just before a kill was gone after a clean stop and a power cut"},
		{27, Async, "offsets went back behind a clean stop, since a kill had left their file's name unsynced"},
	} {
		t.Run(s.was, func(t *testing.T) {
			for range 5 {
				report(t, PowerCut(s.seed, s.mode).Findings)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	step := uint64(17) // each kind of file and of fault some time
	if many(0, 1) == 1 {
		step = 1
	}
	f := Faults(0, step)
	f.Print(t.Output())
	report(t, f.Findings)
	if f.Failed == 0 || f.Refused == 0 {
		t.Error("nothing was tried")
	}
}

func TestReplicas(t *testing.T) {
	from, step := uint64(1), uint64(39) // writes of the log, and everything
	if many(0, 1) == 1 {
		from, step = 0, 1
	}
	f := Replicas(from, step)
	f.Print(t.Output())
	report(t, f.Findings)
	if f.Failed == 0 {
		t.Error("nothing was tried")
	}
}

func TestTruncations(t *testing.T) {
	n := many(8, 200)
	c := Truncations(0, n)
	c.Print(t.Output(), 0, n)
	report(t, c.Findings)
	if c.Requests == 0 {
		t.Error("nothing was tried")
	}
}
