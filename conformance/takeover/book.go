package takeover

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	first int64
	sums  [][16]byte
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

// records calls f with each record of a queue from an offset to an end.
func (r reader) records(p place, from, to int64, f func(*wire.Record)) error {
	for at := from; at < to; {
		a, err := r.c.Call(int(code.PullMessage), pullExt("takeover_reader", p.topic, p.queue, at), nil)
		if err != nil {
			return err
		}
		if a.Code != int(code.Success) {
			return fmt.Errorf("pull of %v at %d of %d: %v", p, at, to, a)
		}
		recs, err := wire.Records(a.Body)
		if err != nil {
			return fmt.Errorf("%w: %v at %d: %w", errRecord, p, at, err)
		}
		for i := range recs {
			if recs[i].QueueOffset != at {
				return fmt.Errorf("%w: %v has %d where %d is due", errRecord, p, recs[i].QueueOffset, at)
			}
			if at < to {
				f(&recs[i])
			}
			at++
		}
	}
	return nil
}

// look reads all queues; whole compares everything that was read before, otherwise only what is new is read.
func (b *book) look(r reader, whole bool) error {
	places, err := r.places()
	if err != nil {
		return err
	}
	there := map[place]bool{}
	for _, p := range places {
		there[p] = true
		if err := b.queue(r, p, whole); err != nil {
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
	return nil
}

func (b *book) queue(r reader, p place, whole bool) error {
	first, end, err := r.ends(p)
	if err != nil {
		return err
	}
	q := b.queues[p]
	if q == nil {
		q = &pages{first: max(first, 0)}
		b.queues[p] = q
	}
	if whole {
		b.run.report.Queues++
		if first != q.first && end > 0 {
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
	err = r.records(p, at, end, func(rec *wire.Record) {
		sum := sha256.Sum256(rec.Raw)
		if rec.QueueOffset < q.end() {
			b.run.report.Records++
			b.run.report.Bytes += int64(len(rec.Raw))
			if [16]byte(sum[:]) != q.sums[rec.QueueOffset-q.first] && !told {
				told = true
				b.run.differ("%v at %d: another record than before, at %d of the log: %.60q", p, rec.QueueOffset, rec.Physical, rec.Body)
			}
			return
		}
		q.sums = append(q.sums, [16]byte(sum[:]))
		b.run.ledger.arrived(p.topic, p.queue, rec)
	})
	if errors.Is(err, errRecord) {
		b.run.differ("%v", err)
		err = nil
	}
	return err
}

// lookFor compares what consumers have read, and what producers were told, with what is there.
func (b *book) lookFor() {
	for s, sum := range b.read {
		q := b.queues[s.place]
		if q == nil || s.offset >= q.end() || s.offset < q.first {
			b.run.differ("%v at %d was read by a consumer, and is gone", s.place, s.offset)
		} else if [16]byte(sum[:16]) != q.sums[s.offset-q.first] {
			b.run.differ("%v at %d is not what a consumer has read there", s.place, s.offset)
		}
	}
	clear(b.read)
	l := b.run.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.order {
		if m.kind == direct && m.stored == yes && len(m.copies) == 0 {
			b.run.differ("%v was acknowledged, and is gone", m)
		}
	}
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

// wait asks again until there is no error, for a while: a broker that has just started may answer with one.
func wait(limit time.Duration, f func() error) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
