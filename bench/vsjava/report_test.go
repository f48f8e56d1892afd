package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"apogee/bench"
)

func sampleReport() *report {
	r := &report{origin: origin{Date: "2026-01-02", Command: "bin/bench-vs-java", Commit: "abc", Machine: "M", JVM: "-Xmx1g", Runs: 3, Length: "5s", Warm: "30s"}, Filled: 1}
	res := results{Apogee: []bench.Result{{BrokerCPU: 4, Rate: 900, OtherLoad: 0.25}}, Java: []bench.Result{{BrokerCPU: 50, Rate: 300}}, Limit: []bench.Result{{Rate: 1000}}}
	r.add(newRow("send", cpu, res, part(10)))
	r.add(newRow("send", throughput, res, owed{ofLimit: 0.95, text: "≥ 95 % of it"}))
	r.Notes = []remark{{Text: "something went wrong"}}
	return r
}

func TestMarkdown(t *testing.T) {
	text := sampleReport().markdown()
	for _, want := range []string{
		"Run on 2026-01-02 with `bin/bench-vs-java` at commit abc, on M.", "filled with page cache", "1 of 2 figures that are owed are met",
		"| send | broker CPU, µs a message | 4.00 | 50.0 | 12.5 × | ≤ 1/10 of Java's | met | 0.25 |\n",
		"|  | messages/s | 900 | 300 | 3.00 ×; 90 % of the machine's 1,000 | ≥ 95 % of it | **missed** | 0.25 |\n", "- something went wrong\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestReportIsReadBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	r := sampleReport()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(file)
	if err != nil || !reflect.DeepEqual(got, r) || got.markdown() != r.markdown() {
		t.Errorf("%+v, %v, want %+v", got, err, r)
	}
	r.Loads = []results{{Name: "send"}}
	if r.table().markdown() != r.markdown() || len(r.table().Loads) > 0 || len(r.Loads) == 0 {
		t.Errorf("what is kept of the table: %+v", r.table())
	}
	if _, err := readReport(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a report that is not there is read")
	}
}

func TestCommand(t *testing.T) {
	got := command([]string{"-quick", "-json", "out", "--dir=/x", "-run", "send", "-write-readme"})
	if want := "bin/bench-vs-java -quick -run send"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParse(t *testing.T) {
	s, err := parse([]string{"-quick"}, io.Discard)
	if err != nil || s.runs != 1 || !s.fill {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range [][]string{{"-runs", "0"}, {"-run", "("}, {"more"}, {"-nope"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if s, err = parse([]string{"-run", "tail"}, io.Discard); err != nil || len(s.names()) != 3 {
		t.Errorf("-run tail chooses %v, %v", s.names(), err)
	}
}

func TestNoteIsALineWithoutFolders(t *testing.T) {
	if got, want := note("ended early: /some/where/apogee had to be killed: deadline\nlevel=INFO msg=x"), "ended early: apogee had to be killed: deadline"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMeminfo(t *testing.T) {
	text := "MemTotal:       24000000 kB\nMemFree:          123 kB\nMemAvailable:   23000000 kB\n"
	if n, err := meminfo(text, "MemFree"); err != nil || n != 123<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "MemFree: lots kB\n"} {
		if _, err := meminfo(bad, "MemFree"); err == nil {
			t.Errorf("%q has a value", bad)
		}
	}
}

func TestFillReadsUntilMemoryIsFull(t *testing.T) {
	f := &filler{path: filepath.Join(t.TempDir(), "sparse"), size: 64 << 20}
	file, err := os.Create(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(f.size); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	left := 3
	f.free = func() (int64, error) {
		if left--; left > 0 {
			return 1 << 40, nil
		}
		return 0, nil
	}
	if err := f.fill(context.Background()); err != nil || f.at != 32<<20 {
		t.Errorf("ended at %d MiB, %v, want 32", f.at>>20, err)
	}
	f.free = func() (int64, error) { return 1 << 40, nil }
	if err := f.fill(context.Background()); err != nil || f.at != 32<<20 {
		t.Errorf("once around ends at %d MiB, %v, want 32", f.at>>20, err)
	}
	if err := (*filler)(nil).fill(context.Background()); err != nil {
		t.Error(err)
	}
}
