package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

func figureOf(load string, apogee float64) row {
	r := row{Load: load, Figure: "CPU", Runs: runs{Apogee: []float64{apogee}}}
	r.judge(false, owed{})
	return r
}

// reportOf has a row for each load, each of a section of the same name.
func reportOf(commit string, cost float64, loads ...string) *report {
	r := &report{origin: origin{Date: "2026-01-02", At: "12:00", Command: "cmd-" + commit, Commit: commit, Runs: 3, Length: "5s"}}
	for _, l := range loads {
		r.add(figureOf(l, cost))
		r.Loads = append(r.Loads, results{Name: l})
		r.Notes = append(r.Notes, remark{Text: l + " was noisy in " + commit})
		r.stamp(l)
		r.finished = append(r.finished, l)
	}
	return r
}

func costs(r *report) (out []string) {
	for _, x := range r.Rows {
		commit := r.Commit
		if x.Part > 0 {
			commit = r.Parts[x.Part-1].Commit
		}
		out = append(out, x.Load+" "+number(x.Apogee)+" "+commit)
	}
	return out
}

func TestSectionsThatAreNoMore(t *testing.T) {
	r := reportOf("two", 2, "pull").mergedInto(reportOf("one", 1, "send", "tail"))
	r.keepOnly([]string{"pull", "tail"})
	if want := []string{"tail 1.00 one", "pull 2.00 two"}; !slices.Equal(costs(r), want) {
		t.Errorf("%q, want %q", costs(r), want)
	}
	r.keepOnly([]string{"pull"})
	if want := []string{"pull 2.00 two"}; !slices.Equal(costs(r), want) || len(r.Parts) > 0 || r.Commit != "two" {
		t.Errorf("%q of %q and %d parts, want %q", costs(r), r.Commit, len(r.Parts), want)
	}
	if text := r.markdown(); strings.Contains(text, "send") {
		t.Errorf("send is still there:\n%s", text)
	}
}

func TestMergeReplacesWhatWasMeasuredAnew(t *testing.T) {
	old := reportOf("one", 1, "send", "pull", "tail")
	got := reportOf("two", 2, "pull", "tail").mergedInto(old)
	if want := []string{"send 1.00 one", "pull 2.00 two", "tail 2.00 two"}; !slices.Equal(costs(got), want) {
		t.Errorf("%q, want %q", costs(got), want)
	}
	text := got.markdown()
	for _, want := range []string{
		"Run on 2026-01-02 with `cmd-one` at commit one", "- Measured apart, on 2026-01-02 at 12:00 UTC with `cmd-two` at commit two, the median of 3 runs of 5s: pull; tail.\n",
		"- send was noisy in one\n", "- pull was noisy in two\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "pull was noisy in one") {
		t.Errorf("a note on a figure that is gone:\n%s", text)
	}
	if !slices.Equal(costs(old), []string{"send 1.00 one", "pull 1.00 one", "tail 1.00 one"}) || len(old.Parts) != 0 {
		t.Errorf("the old report was changed: %q", costs(old))
	}

	again := reportOf("three", 3, "tail", "route").mergedInto(got)
	if want := []string{"send 1.00 one", "pull 2.00 two", "tail 3.00 three", "route 3.00 three"}; !slices.Equal(costs(again), want) {
		t.Errorf("%q, want %q", costs(again), want)
	}
	if len(again.Loads) != 4 || again.Loads[2].Part != 2 {
		t.Errorf("%+v", again.Loads)
	}
	// Of what is left of nothing is said.
	last := reportOf("four", 4, "send", "pull").mergedInto(again)
	if want := []string{"send 4.00 four", "pull 4.00 four", "tail 3.00 three", "route 3.00 three"}; !slices.Equal(costs(last), want) || len(last.Parts) != 1 {
		t.Errorf("%q with %d parts, want %q", costs(last), len(last.Parts), want)
	}
}

func TestMergeLeavesWhatFailed(t *testing.T) {
	old := reportOf("one", 1, "send", "pull")
	fresh := reportOf("two", 2)
	fresh.Notes = append(fresh.Notes, remark{tag: tag{Section: "pull"}, Text: "not measured: pull"})
	got := fresh.mergedInto(old)
	if want := []string{"send 1.00 one", "pull 1.00 one"}; !slices.Equal(costs(got), want) || !strings.Contains(got.markdown(), "not measured: pull") {
		t.Errorf("%q\n%s", costs(got), got.markdown())
	}
}

func TestMergeDropsRowsThatASectionNoLongerHas(t *testing.T) {
	old := reportOf("one", 1, "send")
	old.Rows[0].Figure = "what it was called once"
	if got := reportOf("two", 2, "send").mergedInto(old); !slices.Equal(costs(got), []string{"send 2.00 two"}) {
		t.Errorf("%q", costs(got))
	}
}

// Reports of before had neither sections nor parts, and notes that were texts.
func TestOldReportsAreRead(t *testing.T) {
	var old report
	text := `{"date":"2025-12-31","command":"c","commit":"zero","rows":[{"load":"send","figure":"CPU"},{"load":"pull","figure":"CPU"}],"notes":["a","b"]}`
	if err := json.Unmarshal([]byte(text), &old); err != nil {
		t.Fatal(err)
	}
	got := reportOf("two", 2, "pull").mergedInto(&old)
	if want := []string{"send  zero", "pull 2.00 two"}; !slices.Equal(costs(got), want) || got.Notes[1].Text != "b" || got.Date != "2025-12-31" {
		t.Errorf("%q, %+v", costs(got), got)
	}
}

func TestFromWithRunMeasures(t *testing.T) {
	for args, want := range map[string]bool{"": true, "-from x": false, "-from x -run pull": true, "-from x -steady 1m": true, "-run pull": true} {
		s, err := parse(strings.Fields(args), io.Discard)
		if err != nil || s.measures != want {
			t.Errorf("%q measures: %v, %v", args, s.measures, err)
		}
	}
}

func testSession(t *testing.T) *session {
	s := &session{settings: settings{runs: 3, length: 5 * time.Second, warm: 30 * time.Second, only: regexp.MustCompile("")}, dir: t.TempDir(), log: io.Discard}
	s.report = &report{}
	s.out = filepath.Join(s.dir, "out.json")
	return s
}

func TestASectionThatFailsIsNotedAndTheRestMeasured(t *testing.T) {
	s := testSession(t)
	var order []string
	ok := func(name string) section {
		return section{name, func(context.Context, *pair) error {
			order = append(order, name)
			s.report.add(figureOf(name, 1))
			return nil
		}}
	}
	g := group{name: "g", unpaired: true, sections: []section{ok("a"), {"b", func(_ context.Context, p *pair) error {
		p.report.add(figureOf("half", 1))
		return errors.New("broken")
	}}, ok("c")}}
	s.plan = newPlan(&s.settings, []group{g})
	if err := s.runGroup(t.Context(), &g, g.chosen(&s.settings)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{"a", "c"}) || !slices.Equal(s.report.finished, []string{"a", "c"}) {
		t.Errorf("%q were measured, %q are finished", order, s.report.finished)
	}
	if err := s.failed(); err == nil || !strings.Contains(err.Error(), "section b: broken") {
		t.Errorf("failed: %v", err)
	}
	saved, err := readReport(s.out)
	if err != nil || len(saved.Rows) != 3 || saved.Rows[1].Section != "b" || saved.Rows[2].Section != "c" {
		t.Errorf("%+v, %v", saved, err)
	}
	if len(s.report.Notes) != 1 || s.report.Notes[0].Section != "b" || s.report.Notes[0].Text != "not measured: b: broken" {
		t.Errorf("%+v", s.report.Notes)
	}
}

func TestNothingMoreIsMeasuredWhenTheRunIsToEnd(t *testing.T) {
	s := testSession(t)
	ctx, cancel := context.WithCancel(t.Context())
	g := group{unpaired: true, sections: []section{{"a", func(context.Context, *pair) error { cancel(); return context.Canceled }}, {"b", func(context.Context, *pair) error {
		t.Error("b is measured")
		return nil
	}}}}
	s.plan = newPlan(&s.settings, []group{g})
	if err := s.runGroup(ctx, &g, g.sections); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// stubborn is a server that does not stop.
type stubborn struct {
	testkit.Server
	killed bool
}

func (s *stubborn) Stop() error            { return errors.New("will not") }
func (s *stubborn) Kill() error            { s.killed = true; return nil }
func (s *stubborn) Signal(os.Signal) error { return nil }

func TestWhatDoesNotStopIsKilledAndNoted(t *testing.T) {
	s := testSession(t)
	broker, namesrv := &stubborn{}, &stubborn{}
	x := &subject{target: testkit.Apogee{}, broker: broker, namesrv: namesrv}
	p := &pair{session: s, dir: filepath.Join(s.dir, "pair"), subjects: []*subject{x}, section: "topics"}
	p.close()
	if !broker.killed || !namesrv.killed || len(s.report.Notes) != 1 || !strings.Contains(s.report.Notes[0].Text, "apogee did not stop as it should: will not") ||
		s.report.Notes[0].Section != "topics" {
		t.Errorf("killed: %v, %v; %+v", broker.killed, namesrv.killed, s.report.Notes)
	}
}

func TestSearchRate(t *testing.T) {
	for _, limit := range []float64{310, 500, 999, 1090} {
		asked := 0
		got, err := searchRate(1000, func(rate float64) (bool, error) {
			asked++
			return rate <= limit, nil
		})
		if err != nil || got > limit || got < limit-25 || asked != halvings {
			t.Errorf("found %v of %v with %d runs, %v", got, limit, asked, err)
		}
	}
	if _, err := searchRate(1000, func(float64) (bool, error) { return false, io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("an error is lost: %v", err)
	}
}

func TestPlanCorrectsItself(t *testing.T) {
	s := testSession(t)
	p := newPlan(&s.settings, groups())
	if p.guessed < 20*time.Minute || p.guessed > 3*time.Hour || p.sections != len(s.names()) {
		t.Errorf("%s", p.total())
	}
	// Half of it was done in double the time.
	p.done = p.guessed / 2
	now := p.began.Add(p.guessed)
	p.now = func() time.Time { return now }
	if got, want := p.left(), "perhaps "+p.guessed.Round(10*time.Second).String()+" left"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHighestIsSaidWithTheLatencies(t *testing.T) {
	r := report{Latency: []latencyRow{newLatencyRow("x", results{Apogee: []bench.Result{run1(time.Millisecond)}}, nil)}}
	if text := r.markdown(); !strings.Contains(text, highestIs) {
		t.Error(text)
	}
}
