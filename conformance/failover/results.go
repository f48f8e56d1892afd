package failover

import (
	"fmt"
	"slices"
	"strings"

	"apogee/internal/testkit"
)

// KillResults are reports on kills, one of each target, in a file to which each run adds what it has measured.
type KillResults struct {
	path    string
	reports []*KillReport
}

// OpenKillResults reads what runs have left in a file, if there is one.
func OpenKillResults(path string) (*KillResults, error) {
	k := &KillResults{path: path}
	return k, testkit.Earlier(path, &k.reports)
}

// Add adds what a run has measured, also in the file.
func (k *KillResults) Add(r *KillReport) error {
	i := slices.IndexFunc(k.reports, func(old *KillReport) bool { return old.Target == r.Target })
	if i < 0 {
		k.reports = append(k.reports, r)
	} else {
		k.reports[i].add(r)
	}
	return testkit.Delivery{Value: k.reports, JSON: k.path}.Deliver()
}

func (r *KillReport) add(more *KillReport) {
	for _, s := range more.Samples {
		if old := r.sample(s.What); old != nil {
			old.MS = append(old.MS, s.MS...)
		} else {
			r.Samples = append(r.Samples, s)
		}
	}
	r.Runs, r.Findings = append(r.Runs, more.Runs...), append(r.Findings, more.Findings...)
	r.Kills, r.Took = r.Kills+more.Kills, r.Took+more.Took
	r.Acked, r.Read, r.Twice, r.Failed = r.Acked+more.Acked, r.Read+more.Read, r.Twice+more.Twice, r.Failed+more.Failed
	r.Alone, r.Due, r.There = r.Alone+more.Alone, r.Due+more.Due, r.There+more.There
}

func (r *KillReport) sample(what string) *Sample {
	if i := slices.IndexFunc(r.Samples, func(s *Sample) bool { return s.What == what }); i >= 0 {
		return r.Samples[i]
	}
	return nil
}

// Markdown is a table for a page, and what was held together.
func (k *KillResults) Markdown() string {
	var b strings.Builder
	b.WriteString("| milliseconds: median / p99 / max |")
	for _, r := range k.reports {
		fmt.Fprintf(&b, " %s, %d kills |", r.Target, r.Kills)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(k.reports)) + "\n")
	for _, what := range measured {
		line, some := "| "+strings.TrimSpace(what)+" |", false
		for _, r := range k.reports {
			s := r.sample(what)
			if s == nil || len(s.MS) == 0 {
				line += " |"
				continue
			}
			some = true
			line += fmt.Sprintf(" %.0f / %.0f / %.0f |", s.quantile(0.5), s.quantile(0.99), s.quantile(1))
		}
		if some {
			b.WriteString(line + "\n")
		}
	}
	for _, r := range k.reports {
		fmt.Fprintf(&b, "\n%s: %d messages acknowledged, %d read from master and slave and compared; %d sends not answered or refused; %d of %d offsets at the slave when it took over; ",
			r.Target, r.Acked, r.Read, r.Failed, r.There, r.Due)
		if r.Alone > 0 {
			fmt.Fprintf(&b, "%d returns only after the slave had been stopped by hand, 20 s after the ports were open; ", r.Alone)
		}
		fmt.Fprintf(&b, "%d findings. Run %s.\n", len(r.Findings), strings.Join(r.Runs, "; "))
	}
	return b.String()
}
