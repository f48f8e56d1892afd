package replication

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"apogee/internal/testkit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testkit.RemoveBuilt()
	os.Exit(code)
}

// some are the cells that a quick run has, with Java or without: each fault once, each mode, and each kind of pair.
func some(java bool) (cells []Cell) {
	for _, c := range Matrix() {
		switch c.String() {
		case "java-apogee-sync-kill-master", "apogee-java-sync-kill-slave":
			if java {
				cells = append(cells, c)
			}
		case "apogee-apogee-async-kill-master", "apogee-apogee-sync-kill-slave", "apogee-apogee-sync-kill-master", "apogee-apogee-sync-partition",
			"apogee-apogee-sync-slow-disk", "apogee-apogee-async-clean":
			if !java {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

// TestPairs runs some cells of the matrix, or with APOGEE_LONG=1 all of it: bin/replication-test.
func TestPairs(t *testing.T) {
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Apogee: testkit.Apogee{Bin: bin}, Load: time.Second, Rounds: 1, Together: 3, Cells: some(false)}
	long := os.Getenv("APOGEE_LONG") == "1"
	if long {
		o.Load, o.Rounds, o.Together, o.Cells = 3*time.Second, 3, 1, Matrix()
		if o.Java, err = testkit.FindJava(); err != nil {
			t.Logf("SKIPPED, no cell with a Java broker was run: %v; run it where Java is", err)
		}
	}
	runAll(t, o)
}

// TestPairsWithJava runs a cell of each way round that Java and Apogee can be a pair.
func TestPairsWithJava(t *testing.T) {
	if os.Getenv("APOGEE_LONG") == "1" {
		t.Skip("SKIPPED, no cell is run here: with APOGEE_LONG=1 TestPairs runs the whole matrix, these cells too, and says loudly if Java is missing")
	}
	java, err := testkit.FindJava()
	if err != nil {
		t.Skipf("SKIPPED, no Apogee followed a Java master, nor the other way round: %v; run it where Java is", err)
	}
	bin, err := testkit.Binary()
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, Options{Apogee: testkit.Apogee{Bin: bin}, Java: java, Load: time.Second, Rounds: 1, Together: 2, Cells: some(true)})
}

func runAll(t *testing.T, o Options) {
	t.Helper()
	o.Dir, o.Progress = t.TempDir(), t.Logf
	rows, err := Run(t.Context(), o)
	t.Logf("\n%s", Table(rows))
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		for _, f := range rows[i].Findings {
			t.Errorf("%v: %s", rows[i].Cell, f)
		}
	}
}

// A relay passes things on, and keeps what comes while its gate is shut.
func TestRelay(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		c, err := echo.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	})
	defer served.Wait()
	defer func() { _ = echo.Close() }()
	l := &loopback{}
	conf, err := l.slaveConf(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c, err := net.Dial("tcp", conf["haMasterAddress"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ask := func(what string) {
		if _, err := c.Write([]byte(what)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	ask("one")
	hear("one")
	if err := l.cut(between); err != nil {
		t.Fatal(err)
	}
	ask("two")
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came through a line that was cut: %v", n, err)
	}
	if err := errors.Join(l.mend(), c.SetReadDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	hear("two")
}
