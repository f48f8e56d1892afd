package takeover

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// book is what was read of each queue: the hash of each record, which holds its place in the log too.
type book struct {
	run    *run
	queues map[place]*pages
	read   map[spot][32]byte // by consumers; not yet looked for
}

type place struct {
	topic string
	queue int
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.queue) }

type spot struct {
	place
	offset int64
}

type pages struct {
	first    int64
	sums     [][16]byte // zero: there was nothing, or it is compacted away
	physical []int64    // in the commit log, or, of a compacted queue, in a log of its own
}

func (q *pages) end() int64 { return q.first + int64(len(q.sums)) }

func newBook(r *run) *book {
	return &book{run: r, queues: map[place]*pages{}, read: map[spot][32]byte{}}
}

// reader asks a broker; what it does not answer in the expected way is an error.
type reader struct{ c *wire.Conn }

// errRecord is a record that cannot be, such as one whose sum is not that of its body.
var errRecord = errors.New("broken record")

func (r reader) ask(request int32, ext map[string]string) (*wire.Frame, error) {
	f, err := r.c.Call(int(request), ext, nil)
	if err == nil && f.Code != int(code.Success) {
		err = fmt.Errorf("request %d %v: %v", request, ext, f)
	}
	return f, err
}

func (r reader) json(request int32, ext map[string]string) (any, error) {
	f, err := r.ask(request, ext)
	if err != nil {
		return nil, err
	}
	v, err := wire.Loose(f.Body)
	if err != nil {
		return nil, fmt.Errorf("body of the answer to %d: %w", request, err)
	}
	return v, nil
}

// places are all queues that the topic table names.
func (r reader) places() ([]place, error) {
	v, err := r.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0))
	if err != nil {
		return nil, err
	}
	table, _ := wire.At(v, "topicConfigTable").(map[string]any)
	var out []place
	for _, topic := range slices.Sorted(maps.Keys(table)) {
		n := 0
		for _, member := range []string{"readQueueNums", "writeQueueNums"} {
			v, _ := strconv.Atoi(wire.Num(wire.At(table[topic], member)))
			n = max(n, v)
		}
		for q := range n {
			out = append(out, place{topic, q})
		}
	}
	return out, nil
}

func (r reader) ends(p place) (first, end int64, err error) {
	ext := wire.Ext("topic", p.topic, "queueId", p.queue)
	f, err := r.ask(code.GetMinOffset, ext)
	if err != nil {
		return 0, 0, err
	}
	g, err := r.ask(code.GetMaxOffset, ext)
	if err != nil {
		return 0, 0, err
	}
	return f.Int("offset"), g.Int("offset"), nil
}

// records calls f with each record of a queue from an offset to an end, and its offset there.
func (r reader) records(p place, from, to int64, f func(at int64, rec *wire.Record)) error {
	for at := from; at < to; {
		var a *wire.Frame
		err := wait(compactorLag(p), func() (err error) {
			if a, err = r.c.Call(int(code.PullMessage), wire.PullExt("takeover_reader", p.topic, p.queue, at), nil); err == nil && a.Code != int(code.Success) {
				err = fmt.Errorf("pull of %v at %d of %d: %v", p, at, to, a)
			}
			return err
		})
		if err != nil {
			return err
		}
		recs, err := wire.Records(a.Body)
		if err != nil {
			return fmt.Errorf("%w: %v at %d: %w", errRecord, p, at, err)
		}
		for i := range recs {
			rec := &recs[i]
			switch {
			case strings.HasPrefix(p.topic, lightPrefix): // the record says where it is in its own topic
			case p.topic == keyedTopic && rec.QueueOffset > at: // what was there is compacted away
				at = rec.QueueOffset
			case rec.QueueOffset != at:
				return fmt.Errorf("%w: %v has %d where %d is due", errRecord, p, rec.QueueOffset, at)
			}
			if at < to {
				f(at, rec)
			}
			at += takes(rec)
		}
	}
	return nil
}

// compactorLag is how long what a queue has may not be readable yet.
func compactorLag(p place) time.Duration {
	if p.topic == keyedTopic {
		return 20 * time.Second
	}
	return 0
}

// innerFlag of a record's sysFlag says that it is a whole batch.
const innerFlag = 0x80

// takes is how many offsets a record takes.
func takes(rec *wire.Record) int64 {
	if rec.SysFlag&innerFlag == 0 {
		return 1
	}
	n, _ := strconv.ParseInt(rec.Properties["INNER_NUM"], 10, 64)
	return max(n, 1)
}

// look reads all queues; whole compares everything that was read before, otherwise only what is new is read.
func (b *book) look(r reader, whole bool) error {
	places, err := r.places()
	if err != nil {
		return err
	}
	if b.run.light {
		for i := range lights {
			places = append(places, place{lightQueue(i), 0})
		}
	}
	there, least := map[place]bool{}, b.run.ledger.ends()
	left := patienceOf(30 * time.Second) // for all of them
	for _, p := range places {
		there[p] = true
		if err := b.queue(r, p, whole, least[p], left); err != nil {
			return err
		}
	}
	for p, q := range b.queues {
		if !there[p] && q.end() > 0 {
			b.run.differ("%v is gone; it had %d messages", p, q.end())
		}
	}
	b.lookFor()
	b.run.ledger.weigh()
	return b.run.ledger.tooEarly(r)
}

// queue reads a queue, which should reach to least; it may take a while until it does.
func (b *book) queue(r reader, p place, whole bool, least int64, left *patience) error {
	var first, end int64
	err := left.wait(func() (err error) {
		was := end
		if first, end, err = r.ends(p); err == nil && end < least {
			if err = errBehind; end > was {
				*left = max(*left, *patienceOf(10 * time.Second)) // it comes
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, errBehind) {
		return err
	}
	q := b.queues[p]
	if q == nil {
		q = &pages{first: max(first, 0)}
		b.queues[p] = q
	}
	if whole {
		b.run.report.Queues++
		if first != q.first && end > 0 && p.topic != keyedTopic {
			b.run.differ("%v starts at %d, and started at %d", p, first, q.first)
		}
	}
	if end < q.end() {
		b.run.differ("%v ends at %d, and had %d messages", p, end, q.end())
	}
	at := q.end()
	if whole {
		at = q.first
	}
	// A record that differs is told of once a queue: one missing entry moves all behind it.
	told := false
	seen := map[int64]bool{} // of a compacted queue
	err = r.records(p, at, end, func(at int64, rec *wire.Record) {
		if p.topic == keyedTopic {
			seen[at] = true
			clear(rec.Raw[physicalAt : physicalAt+8]) // compaction moves records
		}
		sum := sha256.Sum256(rec.Raw)
		if at < q.end() {
			b.run.report.Records++
			b.run.report.Bytes += int64(len(rec.Raw))
			was := &q.sums[at-q.first]
			if *was == [16]byte{} { // one implementation had compacted it away, the other one has not
				*was = [16]byte(sum[:])
				b.run.ledger.arrived(p.topic, p.queue, rec)
			}
			if [16]byte(sum[:]) != *was && !told {
				told = true
				b.run.differ("%v at %d: another record than before, at %d of the log: %.60q", p, at, rec.Physical, rec.Body)
			}
			return
		}
		q.enter(at, [16]byte(sum[:]), rec)
		b.run.ledger.arrived(p.topic, p.queue, rec)
	})
	if whole && p.topic == keyedTopic && err == nil {
		b.newest(p, q, seen)
	}
	if errors.Is(err, errRecord) {
		b.run.differ("%v", err)
		err = nil
	}
	return err
}

// physicalAt is where a record says where it is in its log.
const physicalAt = 28

var errBehind = errors.New("the queue ends too early")

// enter notes a record, which may take several offsets.
func (q *pages) enter(at int64, sum [16]byte, rec *wire.Record) {
	for q.end() < at {
		q.sums, q.physical = append(q.sums, [16]byte{}), append(q.physical, rec.Physical)
	}
	for range takes(rec) {
		q.sums, q.physical = append(q.sums, sum), append(q.physical, rec.Physical)
	}
}

// newest looks for the newest message of each key in what was seen of a compacted queue.
func (b *book) newest(p place, q *pages, seen map[int64]bool) {
	newest := map[string]*message{}
	l := b.run.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.order {
		if m.topic == p.topic && m.queue == p.queue && m.stored == yes && (newest[m.key] == nil || newest[m.key].offset < m.offset) {
			newest[m.key] = m
		}
	}
	for key, m := range newest {
		b.run.report.Keys++
		if !seen[m.offset] {
			b.run.differ("%v, the newest with key %s, is not in its compacted queue, which ends at %d", m, key, q.end())
		}
	}
}

// cut forgets what is before an offset of the commit log, and returns how many messages that were. What is compacted stays: it has been copied.
func (b *book) cut(begin int64) (n int) {
	for p, q := range b.queues {
		if p.topic == keyedTopic {
			continue
		}
		i := 0
		for i < len(q.physical) && q.physical[i] < begin {
			i++
		}
		q.first, q.sums, q.physical, n = q.first+int64(i), q.sums[i:], q.physical[i:], n+i
	}
	return n
}

// lookFor compares what consumers have read, and what producers were told, with what is there.
func (b *book) lookFor() {
	for s, sum := range b.read {
		q := b.queues[s.place]
		if q != nil && s.offset < q.first {
			continue // it has gone with its segment
		}
		if q == nil || s.offset >= q.end() {
			b.run.differ("%v at %d was read by a consumer, and is gone", s.place, s.offset)
		} else if [16]byte(sum[:16]) != q.sums[s.offset-q.first] {
			b.run.differ("%v at %d is not what a consumer has read there", s.place, s.offset)
		}
	}
	clear(b.read)
	b.run.ledger.lookFor(b)
}

// tables are what a broker says of topics, groups and offsets.
type tables struct {
	topics, groups, offsets, delays any
	exact                           bool // the broker had nothing to do when it was asked, and was stopped after that
	filed                           any  // consumer offsets as the file had them after a kill
}

func (r reader) tables() (*tables, error) {
	t := &tables{}
	for request, to := range map[int32]*any{
		code.GetAllTopicConfig: &t.topics, code.GetAllSubscriptionGroupConfig: &t.groups, code.GetAllConsumerOffset: &t.offsets, code.GetAllDelayOffset: &t.delays,
	} {
		v, err := r.json(request, wire.Ext("topicSeq", 0, "groupSeq", 0))
		if err != nil {
			return nil, err
		}
		*to = v
	}
	return t, nil
}

// patience is how often something is asked again. Questions are counted, not time: a machine that stands still for a while has not waited,
// and one that is busy takes longer over each.
type patience int

const betweenAsks = 20 * time.Millisecond

func patienceOf(d time.Duration) *patience {
	p := patience(d / betweenAsks)
	return &p
}

// wait asks again until there is no error, or no patience left: a broker that has just started may answer with one.
func (p *patience) wait(f func() error) error {
	for ; ; *p-- {
		err := f()
		if err == nil || *p <= 0 {
			return err
		}
		time.Sleep(betweenAsks)
	}
}

func wait(limit time.Duration, f func() error) error { return patienceOf(limit).wait(f) }
