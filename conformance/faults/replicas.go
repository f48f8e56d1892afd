package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"apogee/compat/properties"
	"apogee/namesrv"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

// ReplicaFigures are what came of slaves whose disks filled up.
type ReplicaFigures struct {
	Points   int // file kinds and faults
	Failed   int64
	Messages int // of the master, at the end
	Missing  int // at the slave
	Resumed  int // points after which replication went on by itself
	Findings []Finding
}

// Replicas runs all points whose number leaves the remainder from by step: the disk of a slave has no room for a while, and then it has.
func Replicas(from, step uint64) *ReplicaFigures {
	all := new(ReplicaFigures)
	total := uint64(len(files) * len(passing()))
	collect(2*runtime.GOMAXPROCS(0), from, (total-min(from, total)+step-1)/step, step, replicaPoint, all.add) // they mostly wait
	slices.SortFunc(all.Findings, func(a, b Finding) int { return int(a.Seed) - int(b.Seed) })
	return all
}

// passing are the faults after which the service goes on by itself.
func passing() (list []fault) {
	for _, f := range faultList {
		if f.heal {
			list = append(list, f)
		}
	}
	return list
}

func (f *ReplicaFigures) add(o *ReplicaFigures) {
	f.Points += o.Points
	f.Failed += o.Failed
	f.Messages += o.Messages
	f.Missing += o.Missing
	f.Resumed += o.Resumed
	f.Findings = append(f.Findings, o.Findings...)
}

// Print writes the figures.
func (f *ReplicaFigures) Print(w io.Writer) {
	fmt.Fprintf(w, "full disks of slaves: %d points, %d operations failed; %d messages of the master, %d missing at the slave; replication went on by itself after %d\n",
		f.Points, f.Failed, f.Messages, f.Missing, f.Resumed)
	printFindings(w, f.Findings)
}

// pairRun is one point: a name server, a master whose disk is well, and its slave.
type pairRun struct {
	number        uint64
	disk          *badDisk
	clock         *clock
	log           *slog.Logger
	ns            *namesrv.Server
	master, slave *node
	mem           *vfs.Mem // the slave's
	out           *ReplicaFigures
}

func replicaPoint(number uint64) *ReplicaFigures {
	var log bytes.Buffer
	list, out := passing(), &ReplicaFigures{Points: 1}
	r := &pairRun{number: number, clock: new(clock), out: out, log: slog.New(slog.NewTextHandler(&log, nil))}
	r.disk = &badDisk{fault: list[number%uint64(len(list))], files: files[number/uint64(len(list))]}
	err := r.start()
	if err == nil {
		err = r.run()
	}
	if err := errors.Join(err, r.stop()); err != nil {
		what := fmt.Sprintf("%s on %s", r.disk.fault.name, r.disk.files)
		out.Findings = append(out.Findings, Finding{number, what + ": " + err.Error(), log.String()})
	}
	out.Failed = r.disk.failed.Load()
	return out
}

func (r *pairRun) start() (err error) {
	var c namesrv.Config
	f, err := properties.Parse("namesrv", []byte("listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath=/kv.json\n"))
	if err != nil {
		return err
	}
	if _, err := properties.Bind(f, &c); err != nil {
		return err
	}
	if r.ns, err = namesrv.New(c, namesrv.Deps{FS: vfs.NewMem(r.clock.now), Now: r.clock.now, Log: r.log}); err != nil {
		return err
	}
	if err := r.ns.Start(); err != nil {
		return err
	}
	conf := "namesrvAddr=" + r.ns.Addr().String() + "\ntimerWheelEnable=false\n"
	if r.master, err = r.node(vfs.NewMem(r.clock.now), conf+"brokerRole=ASYNC_MASTER\n"); err != nil {
		return fmt.Errorf("start the master: %w", err)
	}
	r.mem = vfs.NewMem(r.clock.now)
	mode := []Mode{Sync, Async}[r.number%2]
	if r.slave, err = r.node(r.mem, fmt.Sprintf("%sbrokerRole=SLAVE\nbrokerId=1\nslaveReadEnable=true\nflushDiskType=%s\n", conf, mode)); err != nil {
		return fmt.Errorf("start the slave: %w", err)
	}
	return nil
}

func (r *pairRun) node(mem *vfs.Mem, conf string) (*node, error) {
	if err := errors.Join(mem.MkdirAll("/data"), mem.SyncDir("/")); err != nil {
		return nil, err
	}
	var fsys vfs.FS = mem
	if mem == r.mem {
		fsys = vfs.Faulty(mem, r.disk.check)
	}
	return startNode(fsys, root, r.clock, r.log, conf)
}

// stop stops all that runs, and looks at what the slave has left on its disk.
func (r *pairRun) stop() (err error) {
	for _, n := range []*node{r.slave, r.master} {
		if n != nil {
			err = errors.Join(err, n.stop())
		}
	}
	if r.ns != nil {
		err = errors.Join(err, r.ns.Shutdown(context.Background()))
	}
	if err == nil && r.slave != nil {
		err = checkStore(r.mem, root, "")
	}
	return err
}

func (r *pairRun) run() error {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(r.number, 13))
	work := func(life string) {
		l := &load{node: r.master, ledger: newLedger(), clock: r.clock, life: fmt.Sprintf("%d_%s", r.number, life)}
		l.run(ctx, rnd, 4, 25)
	}
	if err := r.introduce(ctx); err != nil {
		return err
	}
	work("well")
	if err := r.follows(); err != nil {
		return fmt.Errorf("before anything fails: %w", err)
	}
	r.disk.bad.Store(true)
	work("bad")
	time.Sleep(200 * time.Millisecond)
	r.disk.bad.Store(false)
	if err := r.follows(); err != nil {
		return fmt.Errorf("the disk is well again, and the slave does not go on: %w", err)
	}
	work("again")
	if err := r.follows(); err != nil {
		return err
	}
	r.out.Resumed++
	return r.compare(ctx)
}

// introduce makes the topic whose queues are of another kind, and waits until the slave knows it: it has to, before the first record of it
// comes, which Java's slaves have to as well.
func (r *pairRun) introduce(ctx context.Context) error {
	l := &load{node: r.master, ledger: newLedger(), clock: r.clock}
	l.makeTopic(ctx, batchTopic, "+queue.type=BatchCQ", queues)
	for end := time.Now().Add(2 * resumeWithin); ; time.Sleep(10 * time.Millisecond) {
		_, err := r.slave.want(ctx, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: batchTopic}, nil)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// follows waits until the slave has the log of its master.
func (r *pairRun) follows() error {
	for end := time.Now().Add(2 * resumeWithin); ; time.Sleep(10 * time.Millisecond) {
		has, of := r.slave.HAStatus().HAClientRuntimeInfo.MaxOffset, r.master.HAStatus().MasterCommitLogMaxOffset
		if has == of {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("its log ends at %d, its master's at %d", has, of)
		}
	}
}

// compare reads the same messages from both. The slave's topics and its queues come a little later than its log, and so may messages that
// are delivered later.
func (r *pairRun) compare(ctx context.Context) error {
	if err := r.master.makeMissing(ctx, &load{node: r.master, ledger: newLedger(), clock: r.clock}); err != nil {
		return err
	}
	for end := time.Now().Add(2 * resumeWithin); ; time.Sleep(50 * time.Millisecond) {
		want, err := r.master.read(ctx, loadTopics()...)
		if err != nil {
			return err
		}
		got, err := r.slave.read(ctx, loadTopics()...)
		same := err == nil && maps.EqualFunc(want.queues, got.queues, slices.Equal[[]message])
		if !same && time.Now().Before(end) {
			continue
		}
		if err != nil {
			return err
		}
		for p, list := range want.queues {
			r.out.Messages += len(list)
			r.out.Missing += len(list) - len(got.queues[p])
		}
		if !same {
			return errors.New("the slave serves other messages than its master")
		}
		return nil
	}
}
