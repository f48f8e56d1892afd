package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"apogee/broker"
	"apogee/compat/properties"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// Mode is a flush policy.
type Mode string

// The policies of flushDiskType.
const (
	Sync  Mode = "SYNC_FLUSH"
	Async Mode = "ASYNC_FLUSH"
)

// CutFigures are what came of power cuts.
type CutFigures struct {
	Mode       Mode
	From, Last uint64 // seeds
	Cuts       int    // in all lives, those of recoveries included
	Recoveries int    // that were cut themselves
	Kills      int    // lives that ended by a kill before a cut
	Acked      int
	Lost       int // that were promised
	AsyncLost  int // that ASYNC_FLUSH may lose
	Oldest     time.Duration
	Bound      time.Duration // the oldest that it may
	Findings   []Finding
}

// Finding is something that may not be.
type Finding struct {
	Seed uint64
	Text string
	Log  string // of the broker
}

// Periods of the flusher in settings: what is acknowledged is on disk when the second is over, looked at at each tick of the first.
const (
	flushTick     = 20 * time.Millisecond
	flushThorough = 40 * time.Millisecond
)

// PowerCut runs the lives of one seed.
func PowerCut(seed uint64, mode Mode) *CutFigures {
	var log bytes.Buffer
	out := new(CutFigures)
	r := &cutRun{
		seed: seed, mode: mode, rnd: rand.New(rand.NewPCG(seed, 11)), clock: new(clock), ledger: newLedger(), out: out,
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	r.timers, r.clean = seed%4 == 0, seed%4 == 1
	if err := r.run(); err != nil {
		out.Findings = append(out.Findings, Finding{seed, err.Error(), log.String()})
	}
	return out
}

// cutRun is the lives of one seed.
type cutRun struct {
	seed          uint64
	mode          Mode
	rnd           *rand.Rand
	clock         *clock
	ledger        *ledger
	mem           *vfs.Mem
	timers, clean bool
	log           *slog.Logger
	out           *CutFigures
	stalls        stalls
}

func (r *cutRun) conf() string {
	return fmt.Sprintf("flushDiskType=%s\ntimerWheelEnable=%v\n", r.mode, r.timers)
}

func (r *cutRun) run() error {
	r.mem = vfs.NewMem(r.clock.now)
	if err := errors.Join(r.mem.MkdirAll("/data"), r.mem.SyncDir("/")); err != nil {
		return err
	}
	stop := r.stalls.watch()
	defer stop()
	for life := range 2 + r.rnd.IntN(2) {
		if err := r.life(life); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if r.clean {
			r.clock.advance(30 * time.Hour) // the first files are old enough when there were two of these
		} else {
			r.clock.advance(time.Duration(r.rnd.IntN(1500)) * time.Millisecond)
		}
	}
	return r.end()
}

// life runs a broker until the power goes, and recoveries that are cut in their turn.
func (r *cutRun) life(number int) error {
	left := 1 + r.rnd.IntN(120)
	if r.rnd.IntN(4) > 0 {
		left = 100 + r.rnd.IntN(700)
	}
	p := r.supply(left)
	p.kill = r.rnd.IntN(5) == 0
	n, err := startNode(p.fs(), root, r.clock, r.log, r.conf())
	if err != nil && !p.isOff() {
		return fmt.Errorf("start: %w", err)
	}
	if err == nil {
		err = r.work(n, p, number)
	}
	p.cut()
	if n != nil {
		_ = n.stop() // without power it can only say so
	}
	if err != nil && n != nil {
		return err
	}
	r.count(p)
	for range r.rnd.IntN(3) {
		p := r.supply(1 + r.rnd.IntN(100))
		if n, err := startNode(p.fs(), root, r.clock, r.log, r.conf()); err == nil {
			p.cut()
			_ = n.stop()
		} else if !p.isOff() {
			return fmt.Errorf("start after a cut: %w", err)
		}
		r.count(p)
		r.out.Recoveries++
	}
	return nil
}

// supply is the power of the next life.
func (r *cutRun) supply(left int) *power {
	p := newPower(r.mem, r.rnd.Uint64(), left, r.ledger)
	p.async = r.mode == Async
	r.ledger.begin()
	return p
}

// count takes over what a life has left.
func (r *cutRun) count(p *power) {
	r.mem = p.after
	if p.kill {
		r.out.Kills++
	} else {
		r.out.Cuts++
	}
}

// work has clients work, and sometimes the broker stop, while there is power.
func (r *cutRun) work(n *node, p *power, number int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-p.off
		cancel()
	}()
	kept, sent := r.ledger.offsets()
	now, err := n.checkOffsets(ctx, kept, sent)
	if err != nil {
		if p.isOff() {
			return nil
		}
		return err
	}
	r.ledger.found(now)
	l := &load{node: n, ledger: r.ledger, clock: r.clock, life: fmt.Sprintf("%d_%d", r.seed, number), timers: r.timers, clean: r.clean}
	l.run(ctx, r.rnd, 4, 8+r.rnd.IntN(20))
	if !p.isOff() && r.rnd.IntN(2) == 0 {
		if err := n.stop(); err == nil && !p.isOff() {
			r.ledger.closed()
		} else if !p.isOff() {
			return fmt.Errorf("stop: %w", err)
		}
	}
	return nil
}

// end is the last life, in which everything is looked at.
func (r *cutRun) end() error {
	r.ledger.begin()
	n, err := startNode(r.mem, root, r.clock, r.log, r.conf())
	if err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	err = r.look(n)
	if e := n.stop(); err == nil && e != nil {
		err = fmt.Errorf("last stop: %w", e)
	}
	if err == nil {
		err = checkStore(r.mem, root, r.conf())
	}
	if u := r.mem.WroteUnallocated(); err == nil && len(u) > 0 {
		err = fmt.Errorf("written where no blocks are: %v", u)
	}
	return err
}

// look compares what clients know with what they can read.
func (r *cutRun) look(n *node) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	facts := r.ledger.all()
	if err := n.checkTopics(ctx, facts); err != nil {
		return err
	}
	kept, sent := r.ledger.offsets()
	if _, err := n.checkOffsets(ctx, kept, sent); err != nil {
		return err
	}
	if err := n.makeMissing(ctx, &load{node: n, ledger: r.ledger, clock: r.clock}); err != nil {
		return err
	}
	r.clock.advance(time.Minute)
	// Nothing tells a broker that its clock was set: what comes next does.
	w := &worker{load: &load{node: n, ledger: r.ledger, clock: r.clock, life: "end", timers: r.timers}, rnd: r.rnd, name: fmt.Sprintf("%d_end", r.seed)}
	for level := range 3 {
		w.send(ctx, lateTopic, 0, fmt.Sprintf("DELAY\x01%d\x02", level+1), later)
	}
	bound := flushTick + flushThorough + r.stalls.longest()
	v, err := r.settled(ctx, n, facts, bound)
	if err != nil {
		return err
	}
	if r.timers {
		if err := r.drain(ctx, n, facts); err != nil {
			return err
		}
	}
	r.out.Acked += v.acked
	r.out.Lost += len(v.lost)
	r.out.AsyncLost += v.async
	r.out.Oldest, r.out.Bound = max(r.out.Oldest, v.age), max(r.out.Bound, bound)
	if len(v.lost) > 0 {
		return fmt.Errorf("%d acknowledged messages are lost: %q", len(v.lost), v.lost)
	}
	if len(v.late) > 0 {
		return fmt.Errorf("%d messages are lost that were acknowledged more than %v before: %q", len(v.late), bound, v.late)
	}
	return nil
}

// settle is how long delayed messages may take to arrive once they are due.
const settle = 15 * time.Second

// settled judges when all that is delivered later has arrived, or has had the time.
func (r *cutRun) settled(ctx context.Context, n *node, facts []fact, bound time.Duration) (*verdict, error) {
	for end := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		c, err := n.read(ctx, loadTopics()...)
		if err != nil {
			return nil, err
		}
		v, err := judge(facts, c, bound)
		if err != nil || len(v.lost)+v.async == 0 || time.Now().After(end) {
			return v, err
		}
		if len(v.lost) == 0 && !r.awaits(facts, c) {
			return v, nil
		}
	}
}

// awaits tells whether messages that are delivered later have not arrived.
func (r *cutRun) awaits(facts []fact, c *content) bool {
	for _, f := range facts {
		if f.what == later && !f.excused && c.bodies[f.topic][f.body] == 0 {
			return true
		}
	}
	return false
}

// drain pops until each message that nobody is through with has come once more.
func (r *cutRun) drain(ctx context.Context, n *node, facts []fact) error {
	missing := make(map[string]bool)
	for _, f := range facts {
		if f.what == stored && f.topic == popTopic && !f.excused {
			missing[f.body] = true
		}
	}
	for _, f := range facts {
		if f.what == taken {
			delete(missing, f.body)
		}
	}
	for end := time.Now().Add(settle); len(missing) > 0; {
		messages, err := n.popSome(ctx, r.clock.now())
		for _, m := range messages {
			delete(missing, m.body)
		}
		if len(messages) > 0 {
			continue
		}
		if time.Now().After(end) {
			for body := range missing {
				return fmt.Errorf("%d popped messages never come back, such as %s: %v", len(missing), name(body), err)
			}
		}
		r.clock.advance(poppedFor * time.Millisecond / 10)
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// checkStore opens a directory that was left in order, and compares its queues with its log.
func checkStore(fsys vfs.FS, dir, conf string) error {
	f, err := properties.Parse("faults", []byte(merged(settings+conf+"\nstorePathRootDir="+dir+"\n")))
	if err != nil {
		return err
	}
	var opts store.Options
	if _, err := properties.Bind(f, &opts, new(broker.Config)); err != nil {
		return err
	}
	opts.FS = fsys
	opts.QueueKind = func(topic string) store.QueueKind {
		if topic == batchTopic {
			return store.BatchQueue
		}
		return store.SimpleQueue
	}
	s, err := store.Open(opts)
	if err != nil {
		return fmt.Errorf("open after a clean stop: %w", err)
	}
	return errors.Join(compare(s), s.Close())
}

// compare walks the log and asks the queues for each message in it.
func compare(s *store.Store) error {
	st := s.Stats()
	entries := make(map[place]int64)
	for off := st.MinPhysical; off < st.MaxPhysical; {
		rec, release, err := s.View(off)
		if err != nil {
			off += logFileSize - off%logFileSize // the mark at the end of a file
			continue
		}
		var h record.Header
		err = record.Parse(rec, &h)
		if err == nil {
			err = h.CheckBody()
		}
		p, unit, tran, size := place{topic: string(h.Topic), queue: h.QueueID}, h.QueueOffset, h.Tran(), max(1, batchSize(&h))
		release()
		if err != nil {
			return fmt.Errorf("record at %d: %w", off, err)
		}
		if tran != record.SysTranPrepared && tran != record.SysTranRollback {
			var res store.GetResult
			s.Get(&store.GetRequest{Topic: p.topic, QueueID: p.queue, Offset: unit, MaxCount: 1, MaxBytes: 1}, &res)
			if res.Status != store.Found || record.PhysicalOf(res.Regions[0]) != off {
				return fmt.Errorf("record at %d is message %d of %s, queue %d; the queue says %v", off, unit, p.topic, p.queue, res.Status)
			}
			res.Release()
			entries[p] += size
		}
		off += int64(h.Size)
	}
	for p, n := range entries {
		if lo, hi := s.MinOffset(p.topic, p.queue), s.MaxOffset(p.topic, p.queue); hi-lo != n {
			return fmt.Errorf("%s, queue %d, has offsets %d to %d; the log has %d messages of it", p.topic, p.queue, lo, hi, n)
		}
	}
	return nil
}
