package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/internal/testkit"
)

// UpgradeOptions say what becomes what.
type UpgradeOptions struct {
	From, To testkit.Target
	Dir      string // for the files
	Pairs    int    // with one of them nobody takes messages while its master is exchanged
	Phase    time.Duration
	Conf     testkit.Props
	Progress func(format string, args ...any)
	// Exchange stops a broker and starts it as another target, on the same files and port; nil does it without. Whoever does it has to see to
	// it that an Apogee that it has started does not stay.
	Exchange func(ctx context.Context, e Exchange) error
}

// Exchange is a broker that is to become another.
type Exchange struct {
	Addr, Dir       string
	To              string // the target's name
	Namesrv, Master string // addresses
}

// clientsAsk is how often clients ask name servers for routes, and a little more.
const clientsAsk = 31 * time.Second

// UpgradeReport is what was done and found.
type UpgradeReport struct {
	From, To           string
	Pairs              int
	Steps              []Step
	Acked, Read, Twice int
	Failed             int // sends, with all the retries of the client
	Slowest            time.Duration
	Weak               string
	Took               time.Duration
	Findings           []string
}

// Step is one server exchanged.
type Step struct {
	Who, To string
	Away    time.Duration // from the stop until it was ready again
	Refused time.Duration // for how long sends failed, with all the retries of the client
	Failed  int
	Whole   time.Duration // from the stop until its pair was as before
	Read    time.Duration // the longest that a queue of its pair was not read
}

func (r *UpgradeReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pair(s) of %s became %s, one server at a time, and %s again, in %v\n", r.Pairs, r.From, r.To, r.From, r.Took.Round(time.Second))
	fmt.Fprintf(&b, "%-18s %-8s %10s %10s %12s %12s\n", "exchanged", "becomes", "away", "not read", "sends fail", "whole after")
	for _, s := range r.Steps {
		ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
		fmt.Fprintf(&b, "%-18s %-8s %10s %10s %12s %12s\n", s.Who, s.To, ms(s.Away), ms(s.Read), ms(s.Refused), ms(s.Whole))
	}
	fmt.Fprintf(&b, "messages   %d acknowledged to the Go client's producers; %d read from each broker and compared; %d stored twice by its retries; the longest send %v%s\n",
		r.Acked, r.Read, r.Twice, r.Slowest.Round(time.Millisecond), r.Weak)
	fmt.Fprintf(&b, "sends      %d failed with all retries\n", r.Failed)
	listed(&b, r.Findings)
	return b.String()
}

// upgrade is a run.
type upgrade struct {
	UpgradeOptions
	*rig
	report UpgradeReport
	sends  producers
	push   *official
}

// Upgrade runs to its end, or until ctx is over. An error means that it could not go on; findings are in the report.
func Upgrade(ctx context.Context, o UpgradeOptions) (*UpgradeReport, error) {
	u := &upgrade{UpgradeOptions: o, report: UpgradeReport{From: o.From.Name(), To: o.To.Name(), Pairs: o.Pairs}}
	began := time.Now()
	err := u.run(ctx)
	u.report.Took = time.Since(began)
	if u.rig != nil {
		u.report.Findings = u.book.found()
	}
	return &u.report, err
}

func (u *upgrade) run(ctx context.Context) (err error) {
	if u.rig, err = newRig(u.Dir, u.Pairs, u.Conf, u.Progress); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.rig.close()) }()
	if err := u.begin(ctx, u.From); err != nil {
		return err
	}
	u.sends.book = u.book
	for i := range 2 {
		if err := u.sends.start(u.ctx, u.cluster.ns.addr, fmt.Sprint("p", i)); err != nil {
			return err
		}
	}
	if u.push, err = newOfficial(u.cluster.ns.addr); err != nil {
		return err
	}
	defer u.push.close()
	for i, to := range []testkit.Target{u.To, u.From} {
		for _, m := range u.order(i > 0) {
			if err := u.step(ctx, m, to); err != nil {
				return fmt.Errorf("%v becomes %s: %w", m, to.Name(), err)
			}
		}
	}
	if !pause(ctx, u.Phase) {
		return ctx.Err()
	}
	u.quiet()
	u.sends.done.Wait()
	u.report.Failed, u.report.Slowest = len(u.sends.failed), u.sends.slowest
	for status, n := range u.sends.weak {
		u.report.Weak += fmt.Sprintf("; %d with status %d", n, status)
	}
	if err := u.finish(ctx); err != nil {
		return err
	}
	u.consumed(ctx)
	u.report.Acked, u.report.Read, u.report.Twice = u.book.judge()
	return nil
}

// order is in which order they are exchanged. The name server is exchanged while the brokers are the target, which registers sooner. Back it is
// the masters first: a Java master cannot read what a Java slave tells of offsets once
// somebody has pulled there, and waits in isolation until that slave is gone. It can read what an Apogee slave tells.
func (u *upgrade) order(back bool) []*member {
	var list []*member
	for _, p := range u.cluster.pairs {
		list = append(list, p.members[1], p.members[0])
	}
	list = append(list, u.cluster.ns)
	if back {
		slices.Reverse(list)
	}
	return list
}

// step exchanges one server.
func (u *upgrade) step(ctx context.Context, m *member, to testkit.Target) error {
	for _, p := range u.cluster.pairs {
		if err := u.made.more(p); err != nil {
			return err
		}
	}
	if !pause(ctx, u.Phase) {
		return ctx.Err()
	}
	s := Step{Who: m.String(), To: to.Name()}
	failed := u.sends.count()
	u.load.longest("") // of before
	stop := u.watch(ctx, m)
	defer stop()
	began := time.Now()
	if err := u.exchange(ctx, m, to); err != nil {
		return err
	}
	s.Away = time.Since(began)
	if err := u.whole(ctx); err != nil {
		return err
	}
	s.Whole = time.Since(began)
	if m.id == 0 && m.pair != "" { // what was committed at its slave once it had asked for that is with nobody; clients commit it again
		u.made.forget(began.Add(-unwritten))
	}
	var why error
	s.Refused, s.Failed, why = u.sends.since(failed)
	s.Read = u.load.longest(m.pair)
	u.report.Steps = append(u.report.Steps, s)
	u.Progress("%v is %s: away for %v, queues not read for %v, sends failing for %v; its pair is whole after %v",
		m, to.Name(), s.Away.Round(time.Millisecond), s.Read.Round(time.Millisecond), s.Refused.Round(time.Millisecond), s.Whole.Round(time.Millisecond))
	// A client that has asked while somebody was away knows the others only until it asks again.
	if u.Pairs > 1 && m.id == 0 && !pause(ctx, clientsAsk) {
		return ctx.Err()
	}
	if s.Failed > 0 && u.Pairs > 1 {
		u.book.differ("%v becomes %s: %d sends failed, with all retries: %v", m, to.Name(), s.Failed, why)
	}
	for _, p := range u.cluster.pairs {
		for _, who := range p.members {
			if err := u.has(ctx, who, 20*time.Second, began.Add(-fresh(u.From, u.To)), fmt.Sprintf("%v is %s", m, to.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// watch looks for slaves that act although their master is not the one that is exchanged. Java's do, while a name server that was started
// again does not know their master yet.
func (u *upgrade) watch(ctx context.Context, exchanged *member) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	for _, p := range u.cluster.pairs {
		slave := p.members[1]
		if p.members[0] == exchanged || slave == exchanged || slave.now.Name() == "java" {
			continue
		}
		done.Go(func() {
			for pause(ctx, 100*time.Millisecond) {
				if active, err := u.lines.runtime(slave.addr, "brokerActive"); err == nil && active == "true" {
					u.book.differ("%v acts beside its master, while the %v is exchanged", slave, exchanged)
					return
				}
			}
		})
	}
	return func() { cancel(); done.Wait() }
}

func (u *upgrade) exchange(ctx context.Context, m *member, to testkit.Target) error {
	if u.Exchange != nil && m.pair != "" {
		return u.Exchange(ctx, Exchange{Addr: m.addr, Dir: m.dir, To: to.Name(), Namesrv: u.cluster.ns.addr, Master: u.cluster.pairOf(m).members[0].addr})
	}
	if err := m.server.Stop(); err != nil {
		return err
	}
	return m.start(to)
}

// consumed waits until the Go client's consumer has had all that was acknowledged.
func (u *upgrade) consumed(ctx context.Context) {
	var ids []string
	for _, r := range u.book.receipts() {
		ids = append(ids, r.id)
	}
	err := until(ctx, patience, "the Go client's consumer has all", func() (bool, string) {
		n, first := u.push.lacks(ids)
		return n == 0, fmt.Sprintf("%d of %d messages did not come, such as %s", n, len(ids), first)
	})
	if err != nil {
		u.book.differ("%v", err)
	}
}
