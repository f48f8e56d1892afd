package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"apogee/remoting/code"
	"apogee/store/vfs"
)

// files are the kinds of files that fail, by a part of their names. The last is all of them.
var files = []string{"/commitlog/", "/consumequeue/", "/batchconsumequeue/", "/index/", "/timerlog/", "/timerwheel", "/config/", "/checkpoint", "/"}

// changes are the operations that change something.
var changes = []vfs.Op{
	vfs.OpCreate, vfs.OpRemove, vfs.OpRename, vfs.OpMkdir, vfs.OpSyncDir, vfs.OpWrite, vfs.OpSync, vfs.OpTruncate, vfs.OpAllocate, vfs.OpZero,
}

// fault is one way in which a disk fails.
type fault struct {
	name string
	err  error
	ops  []vfs.Op
	heal bool // the service goes on by itself when the disk is well again
}

var faultList = []fault{
	{"no space", vfs.ErrNoSpace, []vfs.Op{vfs.OpCreate, vfs.OpMkdir, vfs.OpRename, vfs.OpWrite, vfs.OpTruncate, vfs.OpAllocate}, true},
	{"no space for a part of a write", &vfs.Short{N: 100, Err: vfs.ErrNoSpace}, []vfs.Op{vfs.OpWrite}, true},
	{"no space for blocks", vfs.ErrNoSpace, []vfs.Op{vfs.OpAllocate}, true},
	{"no space for files", vfs.ErrNoSpace, []vfs.Op{vfs.OpCreate, vfs.OpMkdir}, true},
	{"failing writes", syscall.EIO, []vfs.Op{vfs.OpWrite}, false},
	{"writes that fail half way", &vfs.Short{N: 100, Err: syscall.EIO}, []vfs.Op{vfs.OpWrite}, false},
	{"failing syncs", syscall.EIO, []vfs.Op{vfs.OpSync, vfs.OpSyncDir}, false},
	{"read-only remount", syscall.EROFS, changes, false},
	{"slow disk", nil, []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpAllocate}, true},
}

// slowness is how long an operation takes on a slow disk.
const slowness = 20 * time.Millisecond

// FaultFigures are what came of failing disks.
type FaultFigures struct {
	Points   int // file kinds, faults and flush policies
	Failed   int64
	Acked    int
	Refused  int
	Lost     int
	Resumed  int // points after which the service went on by itself
	Closed   int // points after which only a restart helped, as it has to be
	Findings []Finding
}

// Faults runs all points whose number leaves the remainder from by step.
func Faults(from, step uint64) *FaultFigures {
	all := new(FaultFigures)
	total := uint64(len(files) * len(faultList) * 2)
	collect(2*runtime.GOMAXPROCS(0), from, (total-from+step-1)/step, step, faultPoint, all.add) // they mostly wait
	slices.SortFunc(all.Findings, func(a, b Finding) int { return int(a.Seed) - int(b.Seed) })
	return all
}

func (f *FaultFigures) add(o *FaultFigures) {
	f.Points += o.Points
	f.Failed += o.Failed
	f.Acked += o.Acked
	f.Refused += o.Refused
	f.Lost += o.Lost
	f.Resumed += o.Resumed
	f.Closed += o.Closed
	f.Findings = append(f.Findings, o.Findings...)
}

// Print writes the figures.
func (f *FaultFigures) Print(w io.Writer) {
	fmt.Fprintf(w, "failing disks: %d points, %d operations failed; %d messages acknowledged, %d refused with the cause, %d lost; service went on by itself after %d, closed until a restart after %d\n",
		f.Points, f.Failed, f.Acked, f.Refused, f.Lost, f.Resumed, f.Closed)
	printFindings(w, f.Findings)
}

// badDisk is a file system that fails while it is told to.
type badDisk struct {
	fault  fault
	files  string
	bad    atomic.Bool
	failed atomic.Int64
	logHit atomic.Bool // a write or sync of the log has failed
	synced atomic.Bool // some sync has failed
	all    atomic.Int64
}

func (d *badDisk) check(op vfs.Op, name string) error {
	d.all.Add(1)
	if !d.bad.Load() || !slices.Contains(d.fault.ops, op) || !strings.Contains(name, d.files) {
		return nil
	}
	d.failed.Add(1)
	if d.fault.err == nil {
		time.Sleep(slowness)
		return nil
	}
	if strings.Contains(name, "/commitlog/") && (op == vfs.OpWrite || op == vfs.OpSync || op == vfs.OpSyncDir) {
		d.logHit.Store(true)
	}
	if op == vfs.OpSync || op == vfs.OpSyncDir {
		d.synced.Store(true)
	}
	return d.fault.err
}

// faultRun is one point.
type faultRun struct {
	number int
	mode   Mode
	disk   *badDisk
	mem    *vfs.Mem
	clock  *clock
	ledger *ledger
	log    *slog.Logger
	out    *FaultFigures
}

func faultPoint(seed uint64) *FaultFigures {
	var log bytes.Buffer
	number, out := int(seed), new(FaultFigures)
	r := &faultRun{number: number, mode: Sync, clock: new(clock), ledger: newLedger(), out: out, log: slog.New(slog.NewTextHandler(&log, nil))}
	if number%2 == 1 {
		r.mode = Async
	}
	r.mem = vfs.NewMem(r.clock.now)
	f := faultList[number/2%len(faultList)]
	r.disk = &badDisk{fault: f, files: files[number/2/len(faultList)]}
	out.Points++
	what := fmt.Sprintf("%s on %s, %s", f.name, r.disk.files, r.mode)
	if err := r.run(); err != nil {
		out.Findings = append(out.Findings, Finding{uint64(number), what + ": " + err.Error(), log.String()})
	}
	out.Failed += r.disk.failed.Load()
	return out
}

func (r *faultRun) conf() string {
	return fmt.Sprintf("flushDiskType=%s\ntimerWheelEnable=true\nsyncFlushTimeout=2000\n", r.mode)
}

func (r *faultRun) run() error {
	if err := errors.Join(r.mem.MkdirAll("/data"), r.mem.SyncDir("/")); err != nil {
		return err
	}
	r.ledger.begin()
	n, err := startNode(vfs.Faulty(r.mem, r.disk.check), root, r.clock, r.log, r.conf())
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(uint64(r.number), 5))
	work := func(life string) {
		l := &load{node: n, ledger: r.ledger, clock: r.clock, life: fmt.Sprintf("%d_%s", r.number, life), timers: true}
		l.run(ctx, rnd, 4, 25)
	}
	work("well")
	r.disk.bad.Store(true)
	work("bad")
	err = r.whileBad(ctx, n)
	r.disk.bad.Store(false)
	if err == nil {
		err = r.afterwards(ctx, n, work)
	}
	stopped := n.stop()
	if err != nil {
		return err
	}
	if stopped != nil && !r.disk.synced.Load() && !r.disk.logHit.Load() {
		return fmt.Errorf("stop: %w", stopped)
	}
	r.ledger.begin()
	// What the disk has, and no more: a sync that failed has not made anything durable.
	left := r.mem.KillClone()
	if r.mode == Sync {
		left = r.mem.CrashClone(uint64(r.number))
	}
	return r.look(left)
}

// whileBad asks for the cause, and sees that nobody runs in circles.
func (r *faultRun) whileBad(ctx context.Context, n *node) error {
	before := r.disk.all.Load()
	const quiet = 200 * time.Millisecond
	time.Sleep(quiet)
	// Everything here that looks at something periodically does so every 5 to 50 ms: a few hundred operations.
	if done := r.disk.all.Load() - before; done > 4000 {
		return fmt.Errorf("%d file operations in %v without a request", done, quiet)
	}
	if r.disk.fault.err == nil {
		return nil
	}
	for i := range 40 {
		a, err := n.call(ctx, code.SendMessage, sendHeader(plainTopic(0), 0, ""), []byte(fmt.Sprintf("%d.ask%d:%s", r.number, i, strings.Repeat("x", maxBody))))
		switch {
		case err != nil:
			return fmt.Errorf("send to a failing disk: %w", err)
		case a.Code == code.Success, a.Code == code.FlushDiskTimeout:
			continue
		case a.Code != code.SystemError && a.Code != code.ServiceNotAvailable && a.Code != code.SystemBusy:
			return fmt.Errorf("send to a failing disk: answer %d, %s", a.Code, a.Remark)
		case !namesCause(a.Remark):
			return fmt.Errorf("a send is refused with %d, and its remark does not say why: %s", a.Code, a.Remark)
		}
		r.out.Refused++
	}
	return nil
}

// namesCause tells whether a remark says what is wrong with the disk.
func namesCause(remark string) bool {
	for _, s := range []string{"no space left", "input/output error", "read-only file system", "consume queue write error", "busy"} {
		if strings.Contains(remark, s) {
			return true
		}
	}
	return false
}

// resumeWithin is how long the service may take to go on once the disk is well.
const resumeWithin = 10 * time.Second

// afterwards sees whether the service goes on by itself, where it should, and never where it must not.
func (r *faultRun) afterwards(ctx context.Context, n *node, work func(string)) error {
	for end := time.Now().Add(resumeWithin); ; time.Sleep(20 * time.Millisecond) {
		_, err := n.want(ctx, code.SendMessage, sendHeader(plainTopic(1), 0, ""), []byte(fmt.Sprintf("%d.again.%d:", r.number, time.Now().UnixNano())))
		if err == nil {
			break
		}
		if !r.disk.fault.heal && (r.disk.logHit.Load() || r.disk.synced.Load()) {
			r.out.Closed++
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the disk is well again and the broker refuses messages: %w", err)
		}
	}
	r.out.Resumed++
	work("again")
	if r.disk.synced.Load() {
		return nil // deliveries may wait for a restart, what is behind a failed sync does
	}
	return r.judge(ctx, n)
}

// judge waits for what is delivered later.
func (r *faultRun) judge(ctx context.Context, n *node) error {
	c := &cutRun{ledger: r.ledger, clock: r.clock}
	facts := r.ledger.all()
	r.clock.advance(time.Minute)
	w := &worker{load: &load{node: n, ledger: newLedger(), clock: r.clock, timers: true}, rnd: rand.New(rand.NewPCG(1, 1)), name: fmt.Sprintf("%d_%d", r.number, time.Now().UnixNano())}
	for level := range 3 {
		w.send(ctx, lateTopic, 0, fmt.Sprintf("DELAY\x01%d\x02", level+1), later)
	}
	w.send(ctx, timedTopic, 0, "TIMER_DELIVER_MS\x011\x02", later)
	v, err := c.settled(ctx, n, facts, 0)
	if err != nil {
		return err
	}
	if len(v.lost) > 0 {
		r.out.Lost += len(v.lost)
		return fmt.Errorf("%d acknowledged messages are lost: %q", len(v.lost), v.lost)
	}
	return nil
}

// look starts on what is left, and looks for everything.
func (r *faultRun) look(left *vfs.Mem) error {
	n, err := startNode(left, root, r.clock, r.log, r.conf())
	if err != nil {
		return fmt.Errorf("start afterwards: %w", err)
	}
	ctx := context.Background()
	err = n.checkTopics(ctx, r.ledger.all())
	if err == nil {
		err = r.judge(ctx, n)
	}
	c := &cutRun{ledger: r.ledger, clock: r.clock}
	if err == nil {
		err = c.drain(ctx, n, r.ledger.all())
	}
	for _, f := range r.ledger.all() {
		if f.what.promise() && f.what != topicMade {
			r.out.Acked++
		}
	}
	if e := n.stop(); err == nil && e != nil {
		err = fmt.Errorf("last stop: %w", e)
	}
	if err == nil {
		err = checkStore(left, root, r.conf())
	}
	return err
}
