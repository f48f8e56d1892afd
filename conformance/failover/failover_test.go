package failover

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
}

func apogee(t *testing.T) testkit.Target {
	t.Helper()
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Apogee{Bin: bin}
}

// bin/failover-test does this 50 times.
func TestSlaveActsAndMasterReturns(t *testing.T) {
	t.Parallel()
	report, err := Kills(t.Context(), KillOptions{Target: apogee(t), Dir: t.TempDir(), Kills: 2, Seed: 1, Phase: time.Second, Progress: t.Logf})
	t.Logf("%v", report)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(report.Findings); n > 0 || report.Acked == 0 || report.Read < report.Acked {
		t.Errorf("%d findings, %d messages acknowledged, %d read", n, report.Acked, report.Read)
	}
}

// bin/failover-test -upgrade does this from Java to Apogee and back, with two pairs, so that there always is one that takes messages.
func TestServersAreExchangedOneByOne(t *testing.T) {
	t.Parallel()
	a := apogee(t)
	report, err := Upgrade(t.Context(), UpgradeOptions{From: a, To: a, Dir: t.TempDir(), Pairs: 1, Phase: 300 * time.Millisecond, Progress: t.Logf})
	t.Logf("%v", report)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(report.Findings); n > 0 || report.Acked == 0 || report.Read < report.Acked {
		t.Errorf("%d findings, %d messages acknowledged, %d read", n, report.Acked, report.Read)
	}
}

// What these tests stand on: a book that sees what is wrong.
func TestBookSeesWhatIsWrong(t *testing.T) {
	p := place{"a", 0}
	rec := func(at int64, body string) wire.Record {
		return wire.Record{Raw: []byte(body), QueueOffset: at, Body: []byte(body)}
	}
	for name, c := range map[string]struct {
		do   func(b *book)
		want string
	}{
		"nothing": {func(b *book) {
			b.confirm(p, 1, "s-2")
			b.saw(p, "x", 0, []wire.Record{rec(0, "s-1 x"), rec(1, "s-2 x"), rec(2, "s-2 x")})
			b.saw(p, "y", 1, []wire.Record{rec(1, "s-2 x")})
		}, ""},
		"lost":    {func(b *book) { b.confirm(p, 0, "s-1") }, "is gone"},
		"another": {func(b *book) { b.confirm(p, 0, "s-1"); b.saw(p, "x", 0, []wire.Record{rec(0, "s-2 x")}) }, "where there is s-2"},
		"changed": {func(b *book) {
			b.saw(p, "x", 0, []wire.Record{rec(0, "s-1 x")})
			b.saw(p, "y", 0, []wire.Record{rec(0, "s-1 y")})
		}, "was read before"},
		"reordered": {func(b *book) { b.saw(p, "x", 0, []wire.Record{rec(0, "s-2 x"), rec(1, "s-1 x")}) }, "comes after"},
		"hole":      {func(b *book) { b.saw(p, "x", 0, []wire.Record{rec(1, "s-1 x")}) }, "gives 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t.Logf)
			c.do(b)
			b.judge()
			got := strings.Join(b.found(), "\n")
			if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("found %q, want something with %q", got, c.want)
			}
		})
	}
}

func TestQuantiles(t *testing.T) {
	s := &Sample{}
	for i := 100; i > 0; i-- {
		s.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 50, 0.99: 99, 1: 100} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// Runs add up in a file, each target's apart.
func TestKillsAddUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	for i, target := range []string{"apogee", "java", "apogee"} {
		k, err := OpenKillResults(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &Sample{What: measured[sinceKill]}
		s.add(time.Duration(i+1) * time.Second)
		if err := k.Add(&KillReport{Target: target, Kills: 1, Acked: 10, Runs: []string{fmt.Sprint("run", i)}, Samples: []*Sample{s}}); err != nil {
			t.Fatal(err)
		}
	}
	k, err := OpenKillResults(file)
	if err != nil {
		t.Fatal(err)
	}
	table := k.Markdown()
	for _, want := range []string{
		"| apogee, 2 kills | java, 1 kills |", measured[sinceKill] + " | 1000 / 3000 / 3000 | 2000 / 2000 / 2000 |",
		"apogee: 20 messages acknowledged", "Run run0; run2.",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
