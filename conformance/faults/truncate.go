package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

// insideEnv tells a process of ours that it is to run one seed, and print what came of it.
const insideEnv = "APOGEE_TRUNCATE_SEED"

// Inside is called first by every main function and test main that calls [Truncations]: a fault in mapped memory ends a process, so each seed
// has one of its own.
func Inside() {
	text := os.Getenv(insideEnv)
	if text == "" {
		return
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(truncation(seed)); err != nil {
		os.Exit(2)
	}
	os.Exit(0)
}

// CutShort is what came of one seed, or of many.
type CutShort struct {
	Files    int
	Requests int // made while a file was shorter than it was mapped
	Named    int // refused with an error that names the file
	Closed   int // whose connection was closed
	Crashes  int
	Findings []Finding
}

// Truncations runs so many seeds from one on, each in a process of its own.
func Truncations(from, seeds uint64) *CutShort {
	all := new(CutShort)
	collect(runtime.GOMAXPROCS(0), from, seeds, 1, child, all.add)
	return all
}

func child(seed uint64) *CutShort {
	self, err := os.Executable()
	if err != nil {
		return &CutShort{Findings: []Finding{{Seed: seed, Text: err.Error()}}}
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), insideEnv+"="+strconv.FormatUint(seed, 10))
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	one := new(CutShort)
	if err == nil {
		err = json.Unmarshal(out.Bytes(), one)
	}
	if err != nil {
		text := log.String()
		return &CutShort{Files: 1, Crashes: 1, Findings: []Finding{{seed, fmt.Sprintf("the process died: %v: %.300s", err, text), text}}}
	}
	return one
}

func (c *CutShort) add(o *CutShort) {
	c.Files += o.Files
	c.Requests += o.Requests
	c.Named += o.Named
	c.Closed += o.Closed
	c.Crashes += o.Crashes
	c.Findings = append(c.Findings, o.Findings...)
}

// Print writes the figures.
func (c *CutShort) Print(w io.Writer, from, seeds uint64) {
	fmt.Fprintf(w, "files cut short while they are mapped: seeds %d to %d; %d files, %d requests, %d refused with the file's name, %d connections closed, %d crashes\n",
		from, from+seeds-1, c.Files, c.Requests, c.Named, c.Closed, c.Crashes)
	printFindings(w, c.Findings)
}

// folders are where the files are that are cut short.
var folders = []string{"commitlog", "consumequeue", "batchconsumequeue", "index", "timerlog", "timerwheel"}

// truncRun is one seed.
type truncRun struct {
	*node
	out   *CutShort
	clock *clock
	file  string

	mu sync.Mutex // guards out
}

func truncation(seed uint64) *CutShort {
	var log bytes.Buffer
	out := new(CutShort)
	if err := truncate(seed, out, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		out.Findings = append(out.Findings, Finding{seed, err.Error(), log.String()})
	}
	return out
}

func truncate(seed uint64, out *CutShort, log *slog.Logger) error {
	dir, err := os.MkdirTemp("", "apogee-faults-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rnd := rand.New(rand.NewPCG(seed, 3))
	clk := new(clock)
	n, err := startNode(vfs.OS(), dir, clk, log, "flushDiskType=ASYNC_FLUSH\nmaxTransferCountOnMessageInMemory=8\n")
	if err != nil {
		return err
	}
	ctx := context.Background()
	ledger := newLedger()
	l := &load{node: n, ledger: ledger, clock: clk, life: fmt.Sprint(seed), timers: true}
	l.run(ctx, rnd, 3, 60)
	if _, err := n.read(ctx, loadTopics()...); err != nil { // all is mapped
		return errors.Join(err, n.stop())
	}
	r := &truncRun{node: n, out: out, clock: clk}
	if err := r.cut(rnd, dir); err != nil {
		return errors.Join(err, n.stop())
	}
	facts := ledger.all()
	var wg sync.WaitGroup
	wg.Go(func() { l.run(ctx, rnd, 2, 20) })
	var errs [3]error
	for i := range errs {
		wg.Go(func() { errs[i] = r.requests(ctx, rand.New(rand.NewPCG(seed, uint64(i))), facts) })
	}
	wg.Wait()
	if strings.Contains(r.file, "/commitlog/") && r.out.Named+r.out.Closed == 0 && !strings.Contains(strings.Join(errText(errs[:]), ""), "timeout") {
		errs[0] = errors.Join(errs[0], r.all(ctx, facts))
	}
	_ = n.stop() // it says what is wrong with its files
	return errors.Join(errs[:]...)
}

func errText(errs []error) (out []string) {
	for _, err := range errs {
		if err != nil {
			out = append(out, err.Error())
		}
	}
	return out
}

// cut makes one of the broker's files shorter.
func (r *truncRun) cut(rnd *rand.Rand, dir string) error {
	var list []string
	for _, f := range folders {
		err := filepath.WalkDir(filepath.Join(dir, f), func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				list = append(list, name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(list)
	var in []string
	for len(in) == 0 { // each kind is as likely
		folder := "/" + folders[rnd.IntN(len(folders))]
		for _, name := range list {
			if strings.Contains(name[len(dir):], folder) {
				in = append(in, name)
			}
		}
	}
	r.file = in[rnd.IntN(len(in))]
	st, err := os.Stat(r.file)
	if err != nil {
		return err
	}
	size := rnd.Int64N(max(st.Size(), 1))
	if rnd.IntN(3) == 0 {
		size = 0
	}
	r.out.Files++
	return os.Truncate(r.file, size)
}

// requests reads in all the ways that there are. Any answer will do, and so will a closed connection; none at all will not.
func (r *truncRun) requests(ctx context.Context, rnd *rand.Rand, facts []fact) error {
	for range 60 {
		f := facts[rnd.IntN(len(facts))]
		topic, queue := plainTopic(rnd.IntN(plainTopics)), int32(rnd.IntN(queues))
		var err error
		switch rnd.IntN(5) {
		case 0:
			err = r.ask(ctx, code.QueryMessage, &header.QueryMessageRequest{Topic: topic, Key: "k" + strconv.Itoa(rnd.IntN(5)), MaxNum: 32, EndTimestamp: 1 << 60})
		case 1:
			err = r.ask(ctx, code.ViewMessageByID, &header.ViewMessageByIDRequest{Offset: max(f.phys, 0)})
		case 2:
			err = r.ask(ctx, code.SearchOffsetByTimestamp, &header.SearchOffsetByTimestampRequest{Topic: topic, QueueID: queue, Timestamp: r.clock.now().UnixMilli() - rnd.Int64N(2000)})
		case 3:
			r.clock.advance(poppedFor * 1e6 / 20)
			err = r.ask(ctx, code.PopMessage, &header.PopMessageRequest{
				ConsumerGroup: popGroup, Topic: popTopic, QueueID: -1, MaxMsgNums: 8, InvisibleTime: poppedFor, BornTime: r.clock.now().UnixMilli(),
				ExpType: "TAG", Exp: tagOfAll,
			})
		default:
			err = r.ask(ctx, code.PullMessage, pullHeader("reader", f.topic, f.queue, max(f.off, 0)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// all pulls each message.
func (r *truncRun) all(ctx context.Context, facts []fact) error {
	for _, f := range facts {
		if f.what != stored {
			continue
		}
		if err := r.ask(ctx, code.PullMessage, pullHeader("reader", f.topic, f.queue, f.off)); err != nil {
			return err
		}
	}
	return nil
}

func (r *truncRun) ask(ctx context.Context, request int32, h header.Encodable) error {
	a, err := r.call(ctx, request, h, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Requests++
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is cut short: %w", r.file, err)
	case err != nil:
		r.out.Closed++
	case a.Code != code.Success && strings.Contains(a.Remark, filepath.Base(r.file)):
		r.out.Named++
	}
	return nil
}
