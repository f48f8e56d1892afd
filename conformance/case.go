package conformance

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"apogee/internal/testkit"
)

// Case shows one feature.
type Case struct {
	Area    string
	Feature string // exactly as in the feature list
	Run     func(t *T)
	// Own: the case starts, stops or configures servers itself, so it cannot run against somebody's running cluster.
	Own bool
	// Long: it needs minutes (expiries); only with -long.
	Long bool
	// Limit is how long it may take; a minute unless said otherwise.
	Limit time.Duration
}

// Cases are all cases, in the order of the feature list.
func Cases() []Case {
	var all []Case
	for _, part := range [][]Case{
		messagingCases, consumptionCases, filteringCases, delayCases, orderingCases, storageCases, namesrvCases, adminCases,
		clientCases, deploymentCases, operatorCases, balanceCases, popOrderCases, groupCases, liteCases, kindCases, traceCases, transactionCases, sqlCases, popCases, unregisteredCases, nicheCases,
		replicaCases, slaveCases,
	} {
		all = append(all, part...)
	}
	return all
}

// Status is how a case ended.
type Status string

const (
	Pass Status = "pass"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Result is one case on one target.
type Result struct {
	Area    string `json:"area"`
	Feature string `json:"feature"`
	Target  string `json:"target"`
	Status  Status `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Millis  int64  `json:"ms"`
}

// T is what a case works with. Its methods end the case like those of testing.T; they must be called on the case's goroutine, or that of a
// part of it (atOnce), except Errorf and Logf.
type T struct {
	Target  testkit.Target // nil against a running cluster
	shared  *cluster
	feature string
	serial  string
	long    bool
	dir     string // for files of the case, created on demand below the run's folder
	ctxEnd  time.Time

	mu       sync.Mutex // guards what follows
	failed   []string
	skipped  string
	logs     []string
	cleanups []func()
	names    int
}

// Errorf notes a failure and goes on.
func (t *T) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, fmt.Sprintf(format, args...))
}

// Fatalf notes a failure and ends the case.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf ends the case as not applicable, with a reason that is printed.
func (t *T) Skipf(format string, args ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// Logf adds to what is printed when the case fails.
func (t *T) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logs = append(t.logs, fmt.Sprintf(format, args...))
}

// Cleanup runs f when the case has ended, last one first.
func (t *T) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// Must ends the case if err is not nil.
func (t *T) Must(err error, format string, args ...any) {
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// Until waits until f is true, for at most limit; what f says last is the reason of the failure.
func (t *T) Until(limit time.Duration, what string, f func() (bool, string)) {
	end := time.Now().Add(limit)
	for {
		ok, state := f()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v: %s", what, limit, state)
		}
		time.Sleep(15 * time.Millisecond)
	}
}

// atOnce runs the parts of a case at the same time, since they wait most of it. Where one fails, the case ends with the last.
func atOnce[P any](t *T, parts []P, run func(P)) {
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() {
			defer t.notePanic()
			run(part)
		})
	}
	wg.Wait()
	t.mu.Lock()
	failed := len(t.failed) > 0
	t.mu.Unlock()
	if failed {
		runtime.Goexit()
	}
}

// notePanic is deferred: a panic is a failure.
func (t *T) notePanic() {
	if p := recover(); p != nil {
		t.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// Equal notes a failure unless got is want.
func Equal[V comparable](t *T, what string, got, want V) {
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// Name is a topic or group name of this case alone.
func (t *T) Name(prefix string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names++
	return fmt.Sprintf("%s_%s_%d", prefix, t.serial, t.names)
}

// run runs a case to its end, cleanups included.
func (t *T) run(c Case) Result {
	limit := c.Limit
	if limit == 0 {
		limit = time.Minute
	}
	t.ctxEnd = time.Now().Add(limit)
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.runCleanups()
		defer t.notePanic()
		c.Run(t)
	}()
	select {
	case <-done:
	case <-time.After(limit + 45*time.Second): // cleanups may have to stop a JVM
		t.Errorf("did not end within %v", limit)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{Area: c.Area, Feature: c.Feature, Status: Pass, Millis: time.Since(start).Milliseconds()}
	switch {
	case len(t.failed) > 0:
		r.Status = Fail
		for i, f := range t.failed {
			if i > 0 {
				r.Reason += "; "
			}
			r.Reason += f
		}
	case t.skipped != "":
		r.Status, r.Reason = Skip, t.skipped
	}
	return r
}

func (t *T) runCleanups() {
	for {
		t.mu.Lock()
		n := len(t.cleanups)
		if n == 0 {
			t.mu.Unlock()
			return
		}
		f := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		t.mu.Unlock()
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic in clean-up: %v", p)
				}
			}()
			f()
		}()
	}
}
