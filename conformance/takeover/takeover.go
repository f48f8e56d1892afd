package takeover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"apogee/internal/testkit"
)

// Options say what takes over from what.
type Options struct {
	First, Second testkit.Target // in turns; the first of them also is the last, so with an odd number of switches the second begins
	Dir           string         // for the files
	Seed          uint64
	Switches      int
	Phase         time.Duration // how long each of them is worked with, on average
	Conf          testkit.Props // settings besides those that the seed chooses
	Progress      func(format string, args ...any)
	// Between is called with the store's folder while nobody runs on it.
	Between func(store string) error
}

// Report is what was done and compared.
type Report struct {
	Seed     uint64
	Settings string // that the seed chose
	Switches int
	Kills    int // of the switches: after kill -9 under load
	Stops    int // after a clean stop under load
	Quiet    int // after a clean stop of a broker that had nothing to do
	Counts
	Twice       int // delivered once more after a kill, as both implementations may
	Undecided   int // sent without an answer, as the broker was killed
	Latest      time.Duration
	Took        time.Duration
	Differences []string
}

// Counts are how much was compared.
type Counts struct {
	Acknowledged int   // messages that the broker has confirmed
	Records      int64 // stored messages read again after a switch, each by its hash
	Bytes        int64 // of those
	Queues       int64 // first and last offset
	Offsets      int64 // of consumer groups
	Tables       int64 // topics and groups
	Lookups      int64 // by key
	Timers       int   // delivered, each looked at for its time
	Delayed      int   // by level
	Recalled     int   // timers that were called back and did not come
	Retries      int   // messages sent back by their consumers
	Committed    int   // half messages
	RolledBack   int
	Asked        int // questions about half messages
	Popped       int
	CameBack     int // popped, not acknowledged
	Acks         int
	InOrder      int // handed out by ordered pops, each looked at for its turn
	Light        int // entries of light queues
	Inner        int // batches that are one record
	Keys         int // of compacted topics: the newest message of each
	Expired      int // messages whose segment was deleted
}

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d switches (%d after kill -9 under load, %d after a stop under load, %d after a quiet stop) in %v\n",
		r.Seed, r.Switches, r.Kills, r.Stops, r.Quiet, r.Took.Round(time.Second))
	fmt.Fprintf(&b, "settings           %s\n", r.Settings)
	fmt.Fprintf(&b, "messages           %d acknowledged and found; %d without an answer\n", r.Acknowledged, r.Undecided)
	fmt.Fprintf(&b, "records            %d read again after a switch and compared by hash, %d bytes\n", r.Records, r.Bytes)
	fmt.Fprintf(&b, "offsets            %d queues with their first and last, %d of consumers\n", r.Queues, r.Offsets)
	fmt.Fprintf(&b, "topics and groups  %d\n", r.Tables)
	fmt.Fprintf(&b, "look-ups by key    %d\n", r.Lookups)
	fmt.Fprintf(&b, "timers             %d delivered, %d delayed by level, %d recalled; latest %v after its time or the start\n", r.Timers, r.Delayed, r.Recalled, r.Latest.Round(time.Millisecond))
	fmt.Fprintf(&b, "half messages      %d committed, %d rolled back, %d questions\n", r.Committed, r.RolledBack, r.Asked)
	fmt.Fprintf(&b, "pops               %d messages, %d acks, %d un-acked came back\n", r.Popped, r.Acks, r.CameBack)
	fmt.Fprintf(&b, "pops in order      %d messages\n", r.InOrder)
	fmt.Fprintf(&b, "retries            %d\n", r.Retries)
	fmt.Fprintf(&b, "other kinds        %d entries of light queues, %d inner batches, %d times the newest message of a key\n", r.Light, r.Inner, r.Keys)
	fmt.Fprintf(&b, "first offsets      %d messages went with the oldest segment\n", r.Expired)
	fmt.Fprintf(&b, "once more after a kill -9  %d (delivery is at least once)\n", r.Twice)
	fmt.Fprintf(&b, "differences        %d\n", len(r.Differences))
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "  %s\n", d)
	}
	return b.String()
}

// How a phase ends.
type ending int

const (
	quiet ending = iota
	busy
	killed
)

func (e ending) String() string {
	return [...]string{"stopped", "stopped under load", "killed under load"}[e]
}

// start is when a broker was started, and when it was ready; both in milliseconds.
type start struct {
	began, at int64
	impl      string
	when      time.Time
}

// run is one run.
type run struct {
	Options
	rnd    *rand.Rand // of the goroutine that runs the phases; workers get their own
	report Report
	conf   testkit.Props
	ledger *ledger
	book   *book
	addr   string
	kills  []int64 // when, in milliseconds
	cuts   []int64 // kills, and stops under load
	starts []start
	began  time.Time
	// indexed is the first phase whose messages must be found by key.
	indexed int
	light   bool  // there are light queues
	segment int64 // size of the log's files, 0 where the first of them is not deleted
	begin   int64 // of the log

	mu sync.Mutex // guards report.Differences
}

// Run runs to its end, or until ctx is over. An error means that it could not go on; differences are in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	r := &run{Options: o, rnd: rand.New(rand.NewPCG(o.Seed, 6)), began: time.Now()}
	r.report.Seed = o.Seed
	r.ledger, r.book = newLedger(r), newBook(r)
	r.choose()
	err := r.phases(ctx)
	r.ledger.count(&r.report)
	r.report.Took = time.Since(r.began)
	return &r.report, err
}

// choose settles what all phases have in common.
func (r *run) choose() {
	// The one that is first also ends: it has to bring back everything that is out, and the reference takes a minute for that.
	if r.Switches%2 == 1 {
		r.First, r.Second = r.Second, r.First
	}
	pick := func(values ...string) string { return values[r.rnd.IntN(len(values))] }
	chosen := testkit.Props{
		"flushDiskType":              pick("ASYNC_FLUSH", "ASYNC_FLUSH", "SYNC_FLUSH"),
		"mappedFileSizeCommitLog":    pick("1048576", "4194304", "67108864"),
		"mappedFileSizeConsumeQueue": pick("6000", "60000"),
		"enablePopBufferMerge":       pick("false", "true"),
		"enableRetryTopicV2":         pick("false", "true"),
		"enabledAppendPropCRC":       pick("false", "true"),
		"enableLmq":                  pick("false", "true"),
	}.With(r.Conf)
	r.light = chosen["enableLmq"] == "true"
	if size, err := strconv.ParseInt(chosen["mappedFileSizeCommitLog"], 10, 64); err == nil && size <= 4<<20 {
		r.segment = size
	}
	r.report.Settings = strings.ReplaceAll(strings.TrimSpace(chosen.Text()), "\n", " ")
	r.conf = testkit.Props{
		"brokerClusterName": "TakeoverCluster", "brokerName": brokerName, "brokerId": "0", "deleteWhen": "04", "fileReservedTime": "87600",
		"maxHashSlotNum": "5000", "maxIndexNum": "20000", "diskMaxUsedSpaceRatio": "95", "recallMessageEnable": "true",
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000", "waitTimeMillsInTransactionQueue": "60000",
		"popFromRetryProbability": "50", "flushConsumerOffsetInterval": "1000", "enableMultiDispatch": chosen["enableLmq"],
		// The reference gives up if it is asked to be hastier.
		"transactionCheckInterval": "3000", "transactionTimeOut": "1000", "transactionOpBatchInterval": "200",
		"transactionCheckMax":             "1000000", // a producer that is not there while a broker stops does not answer
		"serverChannelMaxIdleTimeSeconds": "3600",    // a machine that stands still is no reason to close
		// Something for a compactor to do, often.
		"compactionScheduleInternal": "2000", "compactionMappedFileSize": "65536", "compactionCqMappedFileSize": "4600",
	}.With(chosen)
}

const brokerName = "takeover-a"

// differ notes a difference.
func (r *run) differ(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := fmt.Sprintf(format, args...)
	r.report.Differences = append(r.report.Differences, d)
	if len(r.report.Differences) <= 20 {
		r.Progress("DIFFERENCE: %s", d)
	}
}

func (r *run) impl(i int) testkit.Target {
	if i%2 == 0 {
		return r.First
	}
	return r.Second
}

func (r *run) phases(ctx context.Context) error {
	dir := filepath.Join(r.Dir, "broker")
	var before *tables
	for i := 0; i <= r.Switches; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		impl := r.impl(i)
		began := time.Now()
		server, err := impl.Broker(dir, "127.0.0.1:1", r.conf)
		if err != nil {
			return fmt.Errorf("phase %d: %s does not start on what %s has left: %w", i, impl.Name(), r.impl(i+1).Name(), err)
		}
		r.addr = server.Addr()
		started := time.Since(began)
		before, err = r.phase(ctx, i, server, before, started)
		if err != nil {
			err = errors.Join(err, r.dump(server))
			return fmt.Errorf("phase %d, %s: %w", i, impl.Name(), err)
		}
		if i == 0 && r.Switches > 0 {
			if err := r.expire(testkit.StoreDir(server)); err != nil {
				return err
			}
		}
		if r.Between != nil && i < r.Switches {
			if err := r.Between(testkit.StoreDir(server)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dump looks after a broker that has not done what it should. One that has ended is an error with its last words; another one is to say what
// all its threads are doing, and ended. What it has printed goes into the file dump.txt.
func (r *run) dump(server testkit.Server) error {
	var died error
	_ = wait(time.Second, func() error { // who sees a connection end may be quicker than who waits for the process
		if died = server.Died(); died == nil {
			return errRuns
		}
		return nil
	})
	if died == nil {
		_ = server.Signal(syscall.SIGQUIT)
		time.Sleep(2 * time.Second)
		_ = server.Kill()
	}
	return errors.Join(died, os.WriteFile(filepath.Join(r.Dir, "dump.txt"), []byte(server.Output()), 0o644))
}

var errRuns = errors.New("it runs")

// expire deletes the oldest segment of the log, as retention does. It has messages of setUp only: nothing that is still to come is in it.
func (r *run) expire(store string) error {
	if r.segment == 0 {
		return nil
	}
	if err := os.Remove(filepath.Join(store, "commitlog", fmt.Sprintf("%020d", 0))); err != nil {
		return err
	}
	r.begin = r.segment
	r.report.Expired = r.book.cut(r.begin)
	return nil
}

// phase is one life of a broker: what the one before left is compared, then there is work, then an end. It returns what the next one is
// compared with.
func (r *run) phase(ctx context.Context, i int, server testkit.Server, before *tables, started time.Duration) (*tables, error) {
	p := &phase{run: r, number: i, impl: r.impl(i).Name(), ready: time.Now().UnixMilli(), server: server}
	r.starts = append(r.starts, start{p.ready - started.Milliseconds(), p.ready, p.impl, time.Now()})
	var err error
	if p.c, err = dial(r.addr); err != nil {
		return nil, err
	}
	defer p.c.Close()
	if i == 0 {
		if err := p.setUp(); err != nil {
			return nil, err
		}
	} else if err := p.compare(before); err != nil {
		return nil, err
	}
	compared := time.Since(r.starts[i].when)
	last := i == r.Switches
	p.drained = last || i%9 == 8 // each of the two in turn
	how := ending(r.rnd.IntN(3))
	if how == quiet && r.rnd.IntN(2) == 0 { // kills are what there should be most of
		how = killed
	}
	if p.drained {
		how = quiet
	}
	after, err := p.work(ctx, how)
	if err != nil {
		return nil, err
	}
	ending := time.Now()
	if p.drained {
		if err := p.drain(ctx); err != nil {
			return nil, err
		}
	}
	if last {
		after = &tables{}
	}
	if err := p.end(how, after); err != nil {
		return nil, err
	}
	r.Progress("%2d %-6s ready after %4.1f s, compared in %4.1f s, %s in %4.1f s; so far %s", i, p.impl, started.Seconds(), compared.Seconds(),
		how, time.Since(ending).Seconds(), r.soFar())
	return after, nil
}

// soFar is the state in a line.
func (r *run) soFar() string {
	var now Report
	r.ledger.count(&now)
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d messages acknowledged, %d records compared (%.1f MB), %d offsets, %d timers, %d half messages, %d un-acked came back, %d differences",
		now.Acknowledged, r.report.Records, float64(r.report.Bytes)/1e6, r.report.Queues+r.report.Offsets, now.Timers+now.Delayed,
		now.Committed+now.RolledBack, now.CameBack, len(r.report.Differences))
}
