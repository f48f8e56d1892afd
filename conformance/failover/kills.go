package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// KillOptions say what is killed, and how often.
type KillOptions struct {
	Target   testkit.Target
	Dir      string // for the files
	Kills    int
	Seed     uint64        // of the moments
	Phase    time.Duration // how long all is well between two kills, on average
	Official bool          // a consumer of the Go client too, which is waited for
	Conf     testkit.Props // settings of the brokers besides the usual ones
	Origin   string        // of the report: what is run, and at which commit
	Progress func(format string, args ...any)
}

// KillReport is what was measured and found.
type KillReport struct {
	Target                     string
	Runs                       []string // what was run, and at which commit
	Samples                    []*Sample
	Kills                      int
	Acked, Read, Twice, Failed int
	Alone                      int // returns for which the slave had to be stopped
	Due, There                 int // offsets of consumers at the slave, when it took over
	Took                       time.Duration
	Findings                   []string
}

// What is measured, in the order of the report.
const (
	sinceKill = iota // reads go on
	sinceKillRoute
	sinceKillActs
	sinceStartReady
	sinceStartReads
	sinceStartSends
	sinceReadySends
	officialOn
	officialBack
)

var measured = []string{
	"kill -9 of the master until all queues are read from the slave",
	"  until the name server shows the slave in its place",
	"  until the slave delivers, checks and revives",
	"start of the master again until its ports are open",
	"  until all queues are read from it",
	"  until it takes messages",
	"  of that, after its ports were open",
	"kill until the Go client's consumer has what it had to fetch",
	"start of the master until it has what was sent after that",
}

func (r *KillReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d kills of the master under load, in %v: %s\n", r.Target, r.Kills, r.Took.Round(time.Second), strings.Join(r.Runs, "; "))
	table(&b, r.Samples)
	fmt.Fprintf(&b, "messages   %d acknowledged; %d read from master and slave and compared; %d sends were not answered or refused\n", r.Acked, r.Read, r.Failed)
	fmt.Fprintf(&b, "offsets    %d of %d were at the slave when it took over\n", r.There, r.Due)
	if r.Alone > 0 {
		fmt.Fprintf(&b, "returns    %d of %d only after the slave had been stopped by hand, 20 s after the ports were open\n", r.Alone, r.Kills)
	}
	listed(&b, r.Findings)
	return b.String()
}

// kills is a run.
type kills struct {
	KillOptions
	*rig
	pair   *pair
	report KillReport
	rnd    *rand.Rand
	push   *official
}

// patience is for anything that has to happen.
const patience = 2 * time.Minute

// unwritten is how old offsets may be that a killed broker has not written: flushConsumerOffsetInterval, and some more.
const unwritten = 8 * time.Second

// fresh is how far a slave's copies may be behind: Apogee fetches them every 10 s, Java every 60 s.
func fresh(targets ...testkit.Target) time.Duration {
	for _, t := range targets {
		if t.Name() == "java" {
			return 75 * time.Second
		}
	}
	return 15 * time.Second
}

// Kills runs to its end, or until ctx is over. An error means that it could not go on; findings are in the report.
func Kills(ctx context.Context, o KillOptions) (*KillReport, error) {
	k := &kills{KillOptions: o, rnd: rand.New(rand.NewPCG(o.Seed, 9))}
	k.report = KillReport{Target: o.Target.Name(), Runs: []string{o.Origin}}
	for _, what := range measured {
		k.report.Samples = append(k.report.Samples, &Sample{What: what})
	}
	began := time.Now()
	err := k.run(ctx)
	k.report.Took = time.Since(began)
	if k.rig != nil {
		k.report.Findings = k.book.found()
	}
	if err != nil { // what was acknowledged has not been looked for
		k.report.Findings = append(k.report.Findings, "it ended early: "+err.Error())
	}
	if !o.Official {
		k.report.Samples = k.report.Samples[:officialOn]
	}
	return &k.report, err
}

func (k *kills) run(ctx context.Context) (err error) {
	if k.rig, err = newRig(k.Dir, 1, k.Conf, k.Progress); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.rig.close()) }()
	k.pair = k.cluster.pairs[0]
	if err := k.begin(ctx, k.Target); err != nil {
		return err
	}
	for i := range 2 {
		name := fmt.Sprint("s", i)
		k.load.done.Go(func() { k.load.sender(k.ctx, k.pair, name) })
	}
	if k.Official {
		if k.push, err = newOfficial(k.cluster.ns.addr); err != nil {
			return err
		}
		defer k.push.close()
	}
	for i := range k.KillOptions.Kills {
		if err := k.round(ctx, i); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		k.report.Kills++
	}
	k.quiet()
	k.report.Failed = int(k.load.refuse.Load())
	if err := k.finish(ctx); err != nil {
		return err
	}
	k.report.Acked, k.report.Read, k.report.Twice = k.book.judge()
	return nil
}

// round is one kill, and the return.
func (k *kills) round(ctx context.Context, i int) error {
	if err := k.made.more(k.pair); err != nil {
		return err
	}
	if i%10 == 9 { // offsets come to the slave more slowly than kills do
		if err := k.settle(ctx, fmt.Sprintf("before kill %d", i+1)); err != nil {
			return err
		}
	}
	if !pause(ctx, k.Phase/2+time.Duration(k.rnd.Int64N(int64(k.Phase)+1))) {
		return ctx.Err()
	}
	master, slave := k.pair.members[0], k.pair.members[1]
	add := func(which int, from, to time.Time) { k.report.Samples[which].add(to.Sub(from)) }

	var killed time.Time
	kill := func() error {
		k.load.expect(slave.addr)
		killed = time.Now()
		return master.server.Kill()
	}
	if k.push != nil {
		whole := kill
		kill = func() error { return k.push.fallBehind(ctx, whole) }
	}
	if err := kill(); err != nil {
		return err
	}
	k.made.forget(killed.Add(-unwritten))
	shown, acts, err := k.takenOver(ctx)
	if err != nil {
		return err
	}
	add(sinceKill, killed, k.load.reading())
	add(sinceKillRoute, killed, shown)
	add(sinceKillActs, killed, acts)
	when := fmt.Sprintf("kill %d", i+1)
	known := killed.Add(-fresh(k.Target))
	if k.made.settled.After(known) {
		known = k.made.settled
	}
	inv, err := k.made.look(slave.addr, slave.pair, known)
	if err != nil {
		return err
	}
	k.report.Due += inv.due
	k.report.There += inv.due - len(inv.offsets)
	if err := k.has(ctx, slave, 0, known, when); err != nil {
		return err
	}
	// What the slave does in its place has to be taken back.
	key, offset := offsetKey{k.pair.name, "FailoverGroup0", "FailoverTopic0", 0}, int64(1000+i)
	if err := k.made.commit(slave.addr, key, offset); err != nil {
		return err
	}
	if k.push != nil {
		at, err := k.push.goesOn(ctx)
		if err != nil {
			return err
		}
		add(officialOn, killed, at)
	}

	k.load.expect(master.addr)
	started := time.Now()
	if err := master.server.Restart(nil); err != nil {
		return err
	}
	ready := time.Now()
	if err := k.isBack(ctx); err != nil {
		return err
	}
	// All read from the master by now. What they have committed at a Java slave since the master began may have come too late for it.
	if k.Target.Name() == "java" {
		k.made.forget(started)
	}
	f, err := k.lines.must(master.addr, code.QueryConsumerOffset, key.ext(), nil)
	if err != nil {
		return err
	}
	if got := f.Int("offset"); got != offset {
		k.book.differ("%s: offset %d, which was committed at the slave, is %d at the master", when, offset, got)
	}
	add(sinceStartReady, started, ready)
	add(sinceStartReads, started, k.load.reading())
	add(sinceStartSends, started, k.load.sent.when())
	add(sinceReadySends, ready, k.load.sent.when())
	if k.push != nil {
		at, err := k.push.isBack(ctx, started)
		if err != nil {
			return err
		}
		add(officialBack, started, at)
	}
	k.Progress("%3d: read from the slave after %5.0f ms; master's ports open after %5.0f ms, it is read after %5.0f ms, and takes messages after %5.0f ms", i+1,
		last(k.report.Samples[sinceKill]), last(k.report.Samples[sinceStartReady]), last(k.report.Samples[sinceStartReads]), last(k.report.Samples[sinceStartSends]))
	// The file of offsets is as old as that of a killed broker may be; all else was on disk.
	return errors.Join(k.has(ctx, master, 10*time.Second, known, when+", back"), k.whole(ctx))
}

func last(s *Sample) float64 { return s.MS[len(s.MS)-1] }

// takenOver waits until the slave does all of its master's work that it may.
func (k *kills) takenOver(ctx context.Context) (shown, acts time.Time, err error) {
	slave := k.pair.members[1]
	err = until(ctx, patience, "the slave takes over", func() (bool, string) {
		s := k.load.guide.look(k.pair.name)
		if shown.IsZero() && s.master() == slave.addr {
			shown = time.Now()
		}
		active := "true"
		if acts.IsZero() {
			if active, _ = k.lines.runtime(slave.addr, "brokerActive"); active == "true" {
				acts = time.Now()
			}
		}
		read := k.load.reading()
		return !shown.IsZero() && !acts.IsZero() && !read.IsZero(), fmt.Sprintf("route %v, active %s, last read %v", s.addrs, active, read)
	})
	return shown, acts, err
}

// isBack waits until the master is used again. A Java master does not come back while a Java slave is there that somebody has pulled from: it
// cannot read what that tells of offsets. Then the slave is started again once the master is used.
func (k *kills) isBack(ctx context.Context) error {
	if k.Target.Name() != "java" {
		return k.used(ctx, patience)
	}
	err := k.used(ctx, 20*time.Second)
	if err == nil || ctx.Err() != nil {
		return err
	}
	k.report.Alone++
	slave := k.pair.members[1]
	if err := slave.server.Kill(); err != nil {
		return err
	}
	return errors.Join(k.used(ctx, patience), slave.server.Restart(nil))
}

func (k *kills) used(ctx context.Context, limit time.Duration) error {
	return until(ctx, limit, "the master is back", func() (bool, string) {
		read, sent := k.load.reading(), k.load.sent.when()
		_, state := k.load.guide.whole(k.pair)
		return !read.IsZero() && !sent.IsZero(), fmt.Sprintf("last read %v, sent %v, %s", read, sent, state)
	})
}
