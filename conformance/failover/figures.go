package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sample is what was measured of one thing, in milliseconds, in the order of the kills.
type Sample struct {
	What string
	MS   []float64
}

func (s *Sample) add(d time.Duration) { s.MS = append(s.MS, float64(d.Microseconds())/1000) }

// quantile is the smallest value that so much of the sample does not exceed.
func (s *Sample) quantile(q float64) float64 {
	if len(s.MS) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.MS))
	i := int(float64(len(sorted))*q+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// table prints samples, one a line.
func table(b *strings.Builder, samples []*Sample) {
	fmt.Fprintf(b, "%-62s %4s %9s %9s %9s\n", "milliseconds", "n", "median", "p99", "max")
	for _, s := range samples {
		fmt.Fprintf(b, "%-62s %4d %9.0f %9.0f %9.0f\n", s.What, len(s.MS), s.quantile(0.5), s.quantile(0.99), s.quantile(1))
	}
}

// listed prints findings, of many the first ones.
func listed(b *strings.Builder, findings []string) {
	fmt.Fprintf(b, "findings   %d\n", len(findings))
	for i, f := range findings {
		if i == 40 {
			fmt.Fprintf(b, "  and %d more\n", len(findings)-i)
			return
		}
		fmt.Fprintf(b, "  %s\n", f)
	}
}
