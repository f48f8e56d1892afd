// Package compare tells what two data directories have in common: messages, queues, tables of configuration and offsets, timers that wait. It
// compares what they mean, not their bytes: sizes of files, places in the log and what an index is made of do not count.
//
// Each directory is read once, by package verify; of each queue only sums over blocks of messages are kept, and blocks that differ are read
// again to name the messages. Start at [Run].
package compare

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"apogee/store/inspect"
	"apogee/store/record"
	"apogee/store/verify"
)

// Difference is one thing that is not the same.
type Difference struct {
	What   string `json:"what"`             // queue, message, timers, or the name of a file of config
	Name   string `json:"name"`             // topic/queue, or the path in the file
	Offset int64  `json:"offset,omitempty"` // queue offset of a message, ms of timers
	A      string `json:"a"`                // empty: it is not there
	B      string `json:"b"`
}

// Options are the two directories. Their reports and visits are the comparison's own.
type Options struct {
	A, B     verify.Options
	Report   func(Difference)
	Progress func(side string, done, total int64)
}

// Side is what was read of one directory.
type Side struct {
	Queues   int                    `json:"queues"`
	Messages int64                  `json:"messages"`
	Timers   int64                  `json:"timers"`
	Findings map[verify.Level]int64 `json:"findings"` // of verify
}

// Result is how many differences there are of each kind.
type Result struct {
	A           Side             `json:"a"`
	B           Side             `json:"b"`
	Same        bool             `json:"same"`
	Differences map[string]int64 `json:"differences"`
}

// key is a queue.
type key struct {
	topic string
	id    int32
	batch bool
}

func (k key) String() string { return fmt.Sprintf("%s/%d", k.topic, k.id) }

// blockMessages is how many queue offsets share a sum.
const blockMessages = 256

// block sums up messages of neighbouring queue offsets.
type block struct {
	n          int64 // queue offset / blockMessages
	count, sum uint64
}

// queue is what is kept of one.
type queue struct {
	min, max int64
	blocks   []block
}

// slot sums up the timers of one time.
type slot struct {
	n, cancels int64
	sum        uint64
}

// reader collects what one directory holds.
type reader struct {
	seed   maphash.Seed
	queues map[key]*queue
	timers map[int64]*slot
	count  int64
}

// Run compares two directories.
func Run(ctx context.Context, o Options) (*Result, error) {
	seed := maphash.MakeSeed()
	res := &Result{Differences: map[string]int64{}}
	c := &comparison{o: &o, res: res, seed: seed}
	var err error
	if c.a, res.A, err = c.read(ctx, "A", o.A); err != nil {
		return nil, fmt.Errorf("A: %w", err)
	}
	if c.b, res.B, err = c.read(ctx, "B", o.B); err != nil {
		return nil, fmt.Errorf("B: %w", err)
	}
	for _, step := range []func() error{c.queues, c.timers, c.tables} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	res.Same = len(res.Differences) == 0
	return res, nil
}

type comparison struct {
	o    *Options
	res  *Result
	seed maphash.Seed
	a, b *reader
}

func (c *comparison) report(d Difference) {
	c.res.Differences[d.What]++
	if c.o.Report != nil {
		c.o.Report(d)
	}
}

// read goes through one directory.
func (c *comparison) read(ctx context.Context, side string, o verify.Options) (*reader, Side, error) {
	r := &reader{seed: c.seed, queues: map[key]*queue{}, timers: map[int64]*slot{}}
	o.Report, o.Visit, o.VisitTimer = nil, r.message, r.timer
	if c.o.Progress != nil {
		o.Progress = func(done, total int64) { c.o.Progress(side, done, total) }
	}
	res, err := verify.Run(ctx, o)
	if err != nil {
		return nil, Side{}, err
	}
	if res.Unreadable > 0 {
		return nil, Side{}, fmt.Errorf("%d places could not be read; apogee store verify says which", res.Unreadable)
	}
	return r, Side{Queues: len(r.queues), Messages: r.count, Timers: res.TimerPending, Findings: res.Levels}, nil
}

func (r *reader) message(v *verify.Visited) {
	k := key{v.Topic, v.Queue, v.Batch}
	q := r.queues[k]
	off := v.Entry.QueueOffset
	if q == nil {
		q = &queue{min: off}
		r.queues[k] = q
	}
	q.max = off + int64(v.Entry.Count)
	r.count += int64(v.Entry.Count)
	n := off / blockMessages
	if last := len(q.blocks) - 1; last < 0 || q.blocks[last].n != n {
		q.blocks = append(q.blocks, block{n: n})
	}
	b := &q.blocks[len(q.blocks)-1]
	b.count++
	b.sum += Hash(r.seed, v.Record) * (uint64(off)*2 + 1)
}

func (r *reader) timer(due int64, cancel bool, rec []byte) {
	s := r.timers[due]
	if s == nil {
		s = &slot{}
		r.timers[due] = s
	}
	if cancel {
		s.cancels++
	} else {
		s.n++
	}
	s.sum += Hash(r.seed, rec)
}

// Places in a record that depend on where it lies: its own offset in the log, and that of the half message that it commits.
const (
	offPhysical = 28
	offSysFlag  = 36
	offPrepared = 76 // with IPv4 hosts
	moreIPv6    = 12
)

// Hash is the hash of a record without what depends on where it lies in the log.
func Hash(seed maphash.Seed, rec []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var head record.Header
	if record.Parse(rec, &head) != nil {
		return maphash.Bytes(seed, rec)
	}
	prepared := offPrepared
	for _, v6 := range []int32{record.SysBornHostV6, record.SysStoreHostV6} {
		if head.SysFlag&v6 != 0 {
			prepared += moreIPv6
		}
	}
	end := len(rec)
	if n := len(head.Properties) - record.CRCReserve; n >= 0 && bytes.HasPrefix(head.Properties[n:], []byte(record.PropCRC32)) {
		end -= record.CRCReserve // it covers both
	}
	_, _ = h.Write(rec[:offPhysical])
	_, _ = h.Write(rec[offPhysical+8 : prepared])
	_, _ = h.Write(rec[prepared+8 : end])
	return h.Sum64()
}

// queues compares the queues, and the messages in them.
func (c *comparison) queues() error {
	all := maps.Clone(c.a.queues)
	maps.Copy(all, c.b.queues)
	keys := slices.SortedFunc(maps.Keys(all), func(x, y key) int {
		return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.id, y.id))
	})
	bounds := func(q *queue) string {
		if q == nil {
			return ""
		}
		return fmt.Sprintf("%d to %d", q.min, q.max)
	}
	for _, k := range keys {
		a, b := c.a.queues[k], c.b.queues[k]
		if a == nil || b == nil || a.min != b.min || a.max != b.max {
			c.report(Difference{What: "queue", Name: k.String(), A: bounds(a), B: bounds(b)})
		}
		if a == nil || b == nil {
			continue
		}
		if err := c.blocks(k, a, b); err != nil {
			return err
		}
	}
	return nil
}

// blocks looks for blocks that differ, in the offsets that both queues have.
func (c *comparison) blocks(k key, a, b *queue) error {
	from, to := max(a.min, b.min), min(a.max, b.max)
	i, j := 0, 0
	for i < len(a.blocks) || j < len(b.blocks) {
		var x, y block
		switch {
		case j == len(b.blocks) || i < len(a.blocks) && a.blocks[i].n < b.blocks[j].n:
			x, i = a.blocks[i], i+1
			y.n = x.n
		case i == len(a.blocks) || b.blocks[j].n < a.blocks[i].n:
			y, j = b.blocks[j], j+1
			x.n = y.n
		default:
			x, y, i, j = a.blocks[i], b.blocks[j], i+1, j+1
		}
		if x == y {
			continue
		}
		if lo, hi := max(x.n*blockMessages, from), min((x.n+1)*blockMessages, to); lo < hi {
			if err := c.messages(k, lo, hi); err != nil {
				return err
			}
		}
	}
	return nil
}

// messages names the messages of a range that differ.
func (c *comparison) messages(k key, from, to int64) error {
	a, err := c.list(c.o.A, k, from, to)
	if err != nil {
		return fmt.Errorf("A: %w", err)
	}
	b, err := c.list(c.o.B, k, from, to)
	if err != nil {
		return fmt.Errorf("B: %w", err)
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, off := range slices.Sorted(maps.Keys(all)) {
		x, y := a[off], b[off]
		if x == y {
			continue
		}
		d := Difference{What: "message", Name: k.String(), Offset: off, A: x.text, B: y.text}
		if x.text == y.text {
			d.A, d.B = d.A+", other bytes", d.B+", other bytes"
		}
		c.report(d)
	}
	return nil
}

// sight is one message, as it is told.
type sight struct {
	hash uint64
	text string
}

// list reads the messages of a range.
func (c *comparison) list(o verify.Options, k key, from, to int64) (map[int64]sight, error) {
	s, err := inspect.Open(o.Root, o.Log)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.Queues()
	if err != nil {
		return nil, err
	}
	out := map[int64]sight{}
	for _, q := range all {
		if q.Topic != k.topic || q.ID != k.id || q.Batch != k.batch {
			continue
		}
		err := s.EachEntry(q, from, func(e inspect.Entry) bool {
			if e.QueueOffset >= to {
				return false
			}
			rec, err := s.RecordAt(e)
			if err != nil {
				return true // verify says so
			}
			text := fmt.Sprintf("stored %d, %d bytes", rec.StoreTimestamp, len(rec.Bytes))
			if id := record.Property(rec.Properties, record.PropUniqKey); id != "" {
				text = id + ", " + text
			}
			if rec.Fault != nil {
				text += ", " + rec.Fault.Error()
			}
			out[e.QueueOffset] = sight{Hash(c.seed, rec.Bytes), text}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// timers compares those that wait, by the time of their slot.
func (c *comparison) timers() error {
	all := maps.Clone(c.a.timers)
	maps.Copy(all, c.b.timers)
	text := func(s *slot) string {
		if s == nil {
			return ""
		}
		return fmt.Sprintf("%d messages, %d cancellations", s.n, s.cancels)
	}
	for _, due := range slices.Sorted(maps.Keys(all)) {
		a, b := c.a.timers[due], c.b.timers[due]
		if a != nil && b != nil && *a == *b {
			continue
		}
		d := Difference{What: "timers", Name: fmt.Sprint("due at ", due), Offset: due, A: text(a), B: text(b)}
		if d.A == d.B {
			d.A, d.B = d.A+", others", d.B+", others"
		}
		c.report(d)
	}
	return nil
}
