package pop

import (
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// rig is the parts of a broker that pop works with, on a file system in memory, with a clock of its own and a timer that is worked by hand.
type rig struct {
	t       testing.TB
	mem     *vfs.Mem
	millis  *atomic.Int64
	cfg     *config.Live
	store   *store.Store
	topics  *meta.Topics
	groups  *meta.Groups
	offsets *meta.Offsets
	pop     *Service

	timer     *handTimer
	delivered map[int64]bool // offsets in the timer topic
	waiting   *waitingLog
	change    []func(*config.Broker)
}

// waitingLog notes who is told that there is something to pop.
type waitingLog struct {
	NoWaiting
	told []Key
}

func (w *waitingLog) Notify(k Key) { w.told = append(w.told, k) }

func newRig(t testing.TB, change ...func(*config.Broker)) *rig {
	t.Helper()
	r := &rig{t: t, millis: new(atomic.Int64), change: change}
	r.millis.Store(epoch)
	r.mem = vfs.NewMem(r.now)
	r.open()
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

func (r *rig) now() time.Time { return time.UnixMilli(r.millis.Load()) }

func (r *rig) pass(d time.Duration) { r.millis.Add(d.Milliseconds()) }

func settings(change []func(*config.Broker)) *config.Broker {
	c := &config.Broker{
		Name: broker, ClusterName: "c1", ReviveQueues: 2, TimerWheel: true, PopInitInMemory: true, PopRetryFirst: 20, RetryTopicV1Read: true,
		PopBufferStay: 10 * time.Second, PopBufferLeave: 3 * time.Second, PopBufferMax: 1000, PopBufferQueueMax: 100,
		PopLimitMessages: 10, ReviveInterval: time.Second, ReviveMaxSlow: 1, ReviveAckWait: 180 * time.Second,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// open opens what the file system holds. Nothing runs by itself but the store.
func (r *rig) open() {
	t, log := r.t, slog.New(slog.DiscardHandler)
	o := store.Defaults()
	o.FS, o.Now, o.RootDir = r.mem, r.now, "/data/store"
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue, o.MaxHashSlotNum, o.MaxIndexNum = 64<<10, 20*200, 100, 400
	o.FlushDiskType = store.SyncFlush
	o.CompactionCqMappedFileSize, o.CompactionMappedFileSize = 460, 1500
	o.QueueKind = func(topic string) store.QueueKind {
		return map[string]store.QueueKind{"Compacted": store.CompactionQueue, "Batched": store.BatchQueue}[topic]
	}
	var err error
	r.store, err = store.Open(o)
	must(t, err)
	must(t, r.store.Start())
	r.topics = meta.NewTopics(meta.TopicOptions{FS: r.mem, Dir: o.RootDir, Now: r.now, Log: log, AutoCreate: func() bool { return true }})
	r.groups = meta.NewGroups(meta.GroupOptions{
		FS: r.mem, Dir: o.RootDir, Now: r.now, Log: log, AutoCreate: func() bool { return true }, AutoCreateSystem: func() bool { return true },
	})
	r.offsets = meta.NewOffsets(meta.OffsetOptions{
		FS: r.mem, Dir: o.RootDir, Now: r.now, Log: log, Sync: func() error { return r.pop.SyncMoved(r.store.Sync) },
	})
	must(t, r.topics.Load())
	must(t, r.groups.Load())
	must(t, r.offsets.Load())
	r.cfg = config.NewLive(settings(r.change))
	r.timer, r.delivered, r.waiting = &handTimer{r: r}, make(map[int64]bool), new(waitingLog)
	r.pop = New(Options{
		Config: r.cfg, Store: r.store, Offsets: r.offsets, Topics: r.topics, Groups: r.groups, Timer: r.timer, Waiting: r.waiting, Orders: NoOrders{},
		Host: func() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:10911") }, Now: r.now, Log: log,
	})
}

// crash goes on with what a killed process, or with a seed a power cut, leaves.
func (r *rig) crash(seed uint64) {
	left := r.mem.KillClone()
	if seed != 0 {
		left = r.mem.CrashClone(seed)
	}
	_ = r.store.Close()
	r.mem = left
	r.open()
}

func (r *rig) topic(name string, queues int32) {
	t := body.NewTopicConfig(name)
	t.ReadQueueNums, t.WriteQueueNums = queues, queues
	must(r.t, r.topics.Put(&t))
}

func (r *rig) mustPut(m *record.Message) store.PutResult {
	r.t.Helper()
	m.BornHost, m.StoreHost = netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:10911")
	res := r.store.PutWait(m)
	if res.Status != store.PutOK {
		r.t.Fatalf("put into %s: %d %v", m.Topic, res.Status, res.Err)
	}
	testkit.AwaitReadable(r.t, r.store)
	return res
}

func (r *rig) send(topic string, queue int32, text string) {
	r.t.Helper()
	r.mustPut(&record.Message{Topic: topic, QueueID: queue, Body: []byte(text), BornTimestamp: r.millis.Load(), Properties: "TAGS\x01red\x02"})
}

// popped is a message that a group has been given.
type popped struct {
	text    string
	times   int32
	props   string
	topic   string // a retry topic, if it came from there
	receipt Receipt
}

// take pops from one queue, as a request does.
func (r *rig) take(topic, group string, queue int32, most int32, invisible time.Duration) (out []popped) {
	r.t.Helper()
	k := Key{topic, group, queue}
	q := r.pop.TryLock(k)
	if q == nil {
		return nil
	}
	defer r.flush()
	defer q.Unlock()
	if r.pop.TooManyOut(q) {
		return nil
	}
	start := r.pop.Begin(q, true)
	var res store.GetResult
	defer res.Release()
	r.store.Get(&store.GetRequest{Topic: topic, QueueID: queue, Offset: start, MaxCount: most, Each: true}, &res)
	if res.Status != store.Found {
		return nil
	}
	b := Batch{Start: start, Next: res.Next, Offsets: res.Offsets, PopTime: r.millis.Load(), Invisible: invisible.Milliseconds(), ReviveQueue: r.pop.ReviveQueue()}
	if err := r.pop.Take(q, &b); err != nil {
		return nil
	}
	must(r.t, r.store.Commit(&b.Put))
	q.Out(res.Count)
	i := 0
	for _, region := range res.Regions {
		for len(region) > 0 {
			var m record.Message
			must(r.t, record.Decode(region, &m))
			region = region[m.StoreSize:]
			out = append(out, popped{string(m.Body), m.ReconsumeTimes, strings.Clone(m.Properties), topic, Receipt{
				StartOffset: start, PopTime: b.PopTime, Invisible: b.Invisible, ReviveQueue: b.ReviveQueue, Kind: KindOf(topic), Broker: broker,
				Queue: queue, Offset: res.Offsets[i],
			}})
			i++
		}
	}
	return out
}

// takeAll pops from all queues of a topic, and from the retry topic.
func (r *rig) takeAll(topic, group string, queues int32, invisible time.Duration) (out []popped) {
	for q := range queues {
		out = append(out, r.take(topic, group, q, 32, invisible)...)
	}
	return append(out, r.take(RetryTopicV1(topic, group), group, 0, 32, invisible)...)
}

type noted chan store.PutStatus

func (n noted) Complete(s store.PutStatus) { n <- s }

func (r *rig) ack(group string, ps ...popped) {
	r.t.Helper()
	for _, p := range ps {
		done := make(noted, 1)
		res := r.pop.Ack(&Ack{
			Offset: p.receipt.Offset, Broker: broker, Group: group, PopTime: p.receipt.PopTime, Queue: p.receipt.Queue,
			StartOffset: p.receipt.StartOffset, Topic: p.topic,
		}, p.receipt.ReviveQueue, p.receipt.ReviveTime(), done)
		must(r.t, r.store.Commit(&res))
		if res.Pending {
			res.Status = <-done
		}
		if res.Status != store.PutOK {
			r.t.Fatalf("ack: %d %v", res.Status, res.Err)
		}
	}
}

// revive lets time pass until everything that was invisible for d is back.
func (r *rig) revive(d time.Duration) {
	for range int(d/time.Second) + 8 {
		r.pass(time.Second)
		r.timer.deliver()
		r.pop.Revive()
		r.flush()
	}
}

// flush makes readable what nobody has waited for.
func (r *rig) flush() {
	r.t.Helper()
	must(r.t, r.store.Sync())
	testkit.AwaitReadable(r.t, r.store)
}

func texts(ps []popped) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.text)
	}
	slices.Sort(out)
	return out
}

const (
	epoch  = int64(1_700_000_000_000)
	broker = "b1"
)

// handTimer has records wait in the timer topic, as the broker's does, until pass delivers those that are due.
type handTimer struct {
	r    *rig
	late bool
}

func (h *handTimer) Schedule(m *record.Message, due int64, buf []byte) []byte {
	buf = append(buf[:0], m.Properties...)
	buf = record.AppendProperty(buf, "TIMER_OUT_MS", strconv.FormatInt(due, 10))
	buf = record.AppendProperty(buf, "REAL_TOPIC", m.Topic)
	buf = record.AppendProperty(buf, "REAL_QID", strconv.Itoa(int(m.QueueID)))
	m.Topic, m.QueueID, m.Properties = meta.TimerTopic, 0, string(buf)
	return buf
}

func (h *handTimer) Behind() bool { return h.late }

// deliver puts what is due into its topic, in the order of time. After a crash it delivers all of it once more.
func (h *handTimer) deliver() {
	type due struct {
		at int64
		m  record.Message
	}
	h.r.flush()
	var all []due
	now := h.r.millis.Load()
	var res store.GetResult
	for off := int64(0); ; off = res.Next {
		h.r.store.Get(&store.GetRequest{Topic: meta.TimerTopic, Offset: off, MaxCount: 1}, &res)
		if res.Status != store.Found {
			break
		}
		var m record.Message
		must(h.r.t, record.Decode(slices.Clone(res.Regions[0]), &m))
		at, err := strconv.ParseInt(record.Property(m.Properties, "TIMER_OUT_MS"), 10, 64)
		must(h.r.t, err)
		if at <= now && !h.r.delivered[m.QueueOffset] {
			all = append(all, due{at, m})
			h.r.delivered[m.QueueOffset] = true
		}
	}
	res.Release()
	slices.SortStableFunc(all, func(a, b due) int { return int(a.at - b.at) })
	for _, d := range all {
		q, err := strconv.Atoi(record.Property(d.m.Properties, "REAL_QID"))
		must(h.r.t, err)
		d.m.Found = record.Words{}
		d.m.Topic, d.m.QueueID = record.Property(d.m.Properties, "REAL_TOPIC"), int32(q)
		h.r.mustPut(&d.m)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
