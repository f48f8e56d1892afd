package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"apogee/internal/testkit"
)

// Options say what to run and against what.
type Options struct {
	Target   testkit.Target // starts servers; nil with Namesrv
	Namesrv  string         // address of a running cluster's name server
	Run      *regexp.Regexp // of "area/feature"; nil for all
	Long     bool
	Parallel int
	Keep     bool // keep the servers' files
	Progress func(Result)
}

// Run runs cases and returns a result for each, in their order.
func Run(ctx context.Context, opts Options) ([]Result, error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return nil, err
	}
	if !opts.Keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	cases := selected(opts)
	shared := &cluster{namesrv: opts.Namesrv}
	name := opts.Namesrv
	if opts.Target != nil {
		name = opts.Target.Name()
		if shared, err = startCluster(opts.Target, filepath.Join(dir, "shared"), "shared-a", sharedConf); err != nil {
			return nil, err
		}
		defer shared.stop()
	} else if err := shared.find(); err != nil {
		return nil, err
	}
	results := make([]Result, len(cases))
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, max(1, opts.Parallel))
	for _, i := range longestFirst(cases) {
		c := cases[i]
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			t := &T{
				Target: opts.Target, shared: shared, feature: c.Feature, serial: serial(i), long: opts.Long,
				dir: filepath.Join(dir, fmt.Sprintf("case-%d", i)),
			}
			r := Result{Area: c.Area, Feature: c.Feature, Status: Skip, Reason: "takes minutes: -long"}
			if !c.Long || opts.Long {
				r = t.run(c)
			}
			r.Target = name
			mu.Lock()
			defer mu.Unlock()
			results[i] = r
			if opts.Progress != nil {
				opts.Progress(r)
			}
		})
	}
	wg.Wait()
	return results, ctx.Err()
}

// longestFirst is the order to start cases in, by what they ask for: a long one that starts last would keep all waiting.
func longestFirst(cases []Case) []int {
	order := make([]int, len(cases))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(cases[b].Limit - cases[a].Limit) })
	return order
}

// sharedConf are settings of the broker that cases share, besides the base.
var sharedConf = testkit.Props{}

func selected(opts Options) []Case {
	var out []Case
	for _, c := range Cases() {
		if opts.Run == nil || opts.Run.MatchString(c.Area+"/"+c.Feature) {
			out = append(out, c)
		}
	}
	return out
}

// serial makes names of a run unlike those of other runs against the same cluster.
func serial(i int) string {
	return strings.ReplaceAll(fmt.Sprintf("%x_%d", os.Getpid(), i), "-", "_")
}
