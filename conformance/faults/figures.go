package faults

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// collect runs so many numbers from one on, each step apart, with so many workers, and adds up what came of each.
func collect[F any](workers int, from, count, step uint64, run func(number uint64) *F, add func(one *F)) {
	var next atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < count; n = next.Add(1) - 1 {
				one := run(from + n*step)
				mu.Lock()
				add(one)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// PowerCuts runs so many seeds from one on, on all processors.
func PowerCuts(mode Mode, from, seeds uint64) *CutFigures {
	all := &CutFigures{Mode: mode, From: from, Last: from + seeds - 1}
	collect(runtime.GOMAXPROCS(0), from, seeds, 1, func(seed uint64) *CutFigures { return PowerCut(seed, mode) }, all.add)
	return all
}

func (f *CutFigures) add(o *CutFigures) {
	f.Cuts += o.Cuts
	f.Recoveries += o.Recoveries
	f.Kills += o.Kills
	f.Acked += o.Acked
	f.Lost += o.Lost
	f.AsyncLost += o.AsyncLost
	f.Oldest, f.Bound = max(f.Oldest, o.Oldest), max(f.Bound, o.Bound)
	f.Findings = append(f.Findings, o.Findings...)
}

// Print writes the figures, one a line, and what was found.
func (f *CutFigures) Print(w io.Writer) {
	fmt.Fprintf(w, "power cuts, %s: seeds %d to %d; %d cuts, %d of them in a recovery, and %d kills; %d messages acknowledged, %d lost\n",
		f.Mode, f.From, f.Last, f.Cuts, f.Recoveries, f.Kills, f.Acked, f.Lost)
	if f.Mode == Async {
		fmt.Fprintf(w, "  %d more were lost before they were flushed, the oldest %v after its acknowledgement (bound: %v, and what the machine kept goroutines waiting)\n",
			f.AsyncLost, f.Oldest.Round(time.Millisecond), flushTick+flushThorough)
	}
	printFindings(w, f.Findings)
}

func printFindings(w io.Writer, list []Finding) {
	for _, f := range list {
		fmt.Fprintf(w, "  FAILED, seed %d: %s\n", f.Seed, f.Text)
	}
}
