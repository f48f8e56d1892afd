package takeover

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// kind is what has to become of a message.
type kind int

const (
	direct kind = iota // is where the answer says, once
	later              // comes when it is due, once, unless it was recalled
	half               // comes when it is committed
)

// known is how sure it is that something has happened: a broker that is killed leaves requests without an answer.
type known int

const (
	no known = iota
	maybe
	yes
)

// message is what is known of one message.
type message struct {
	id, topic string
	kind      kind
	queue     int
	offset    int64 // of one that is acknowledged and direct
	physical  int64
	body      [32]byte
	stored    known
	phase     int
	sent      int64 // milliseconds
	due       int64 // never before that
	slack     int64 // but a timer's slot may begin this much earlier
	delay     int64 // by level: so long after it was stored; 0 for a timer
	recalled  known
	decision  int // of a half message
	ended     known
	commits   int // ends with a commit that may have had an effect
	asked     int
	backs     int // sent back by a consumer, acknowledged
	perhaps   int // the same, without an answer
	copies    []copyOf
	again     []copyOf // in the retry topic
	touched   bool     // since it was weighed last
	light     []string // light queues that it goes to, too
	lit       []string // those that it was found in
	key       string   // of a compacted topic: only the newest one with a key has to stay
	inner     int64    // how many offsets it takes; 0 is one
	gone      bool     // that it is, was told
}

// copyOf is one stored copy.
type copyOf struct {
	queue  int
	offset int64
	store  int64
}

func (c copyOf) String() string {
	return fmt.Sprintf("queue %d at %d, stored %s", c.queue, c.offset, time.UnixMilli(c.store).UTC().Format("15:04:05.000"))
}

func (m *message) String() string {
	return fmt.Sprintf("%s (sent in phase %d to %s/%d at %d)", m.id, m.phase, m.topic, m.queue, m.offset)
}

// ledger is what the driver knows of messages; their ids are the first words of their bodies.
type ledger struct {
	run *run

	mu       sync.Mutex // guards what follows
	messages map[string]*message
	order    []*message
	pops     map[string]*popped
	offsets  map[offsetKey]*offset
	turns    [queues]turn
	inOrder  int
	acks     int
	poppings int
	back     int
	twice    int
	latest   int64
	early    []early
}

// early is a message that came before its time, if it was stored when it was sent. What is stored together shares a reading of the clock, which
// on a busy machine may be old: the broker is asked when it was stored.
type early struct {
	*message
	copyOf
	at string
}

func newLedger(r *run) *ledger {
	return &ledger{run: r, messages: map[string]*message{}, pops: map[string]*popped{}, offsets: map[offsetKey]*offset{}}
}

// filled is a body of about n bytes that begins with the message's id.
func (m *message) filled(n int) []byte {
	b := append([]byte(m.id), ' ')
	for i := len(b); i < n; i++ {
		b = append(b, byte('a'+(i*7+len(m.id)+m.phase)%26))
	}
	m.body = sha256.Sum256(b)
	return b
}

// idOf is the id of a record: the first word of its body, but for a batch of many bodies.
func idOf(rec *wire.Record) string {
	if rec.SysFlag&innerFlag != 0 {
		return rec.Properties["UNIQ_KEY"]
	}
	id, _, _ := bytes.Cut(rec.Body, []byte(" "))
	return string(id)
}

// add enters a message that is about to be sent.
func (l *ledger) add(m *message) {
	m.offset, m.stored = -1, maybe
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[m.id] = m
	l.order = append(l.order, m)
}

// settle changes an entry.
func (l *ledger) settle(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// arrived takes a record that was read for the first time.
func (l *ledger) arrived(topic string, queue int, rec *wire.Record) {
	if strings.HasPrefix(topic, lightPrefix) {
		l.lightArrived(topic, rec)
		return
	}
	again, ours := l.run.role(topic)
	if !ours {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := idOf(rec)
	m := l.messages[id]
	at := fmt.Sprintf("%s/%d at %d", topic, queue, rec.QueueOffset)
	if m == nil {
		l.run.differ("%s: message %.60q, which nobody has sent", at, rec.Body)
		return
	}
	if sum := sha256.Sum256(rec.Body); sum != m.body {
		l.run.differ("%s: the body of %v is not what was sent", at, m)
	}
	c := copyOf{queue, rec.QueueOffset, rec.StoreTime}
	m.touched = true
	if again {
		m.again = append(m.again, c)
		return
	}
	if topic != m.topic {
		l.run.differ("%s: %v is in another topic", at, m)
	}
	if m.stored == maybe && m.kind == direct {
		m.offset, m.queue, m.stored = rec.QueueOffset, queue, yes // it was taken, after all
	}
	if m.kind == direct && (m.offset != rec.QueueOffset || m.queue != queue) {
		l.run.differ("%s: %v is in another place", at, m)
	}
	m.copies = append(m.copies, c)
	if m.kind == later {
		l.onTime(m, c, at, rec.Properties["TIMER_ENQUEUE_MS"] == neverEntered)
	}
}

// lightArrived takes an entry of a light queue.
func (l *ledger) lightArrived(name string, rec *wire.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[idOf(rec)]
	switch {
	case m == nil || !slices.Contains(m.light, name) || rec.Topic != m.topic:
		l.run.differ("%s has message %.60q of %s, which is not for it", name, rec.Body, rec.Topic)
	case slices.Contains(m.lit, name):
		l.run.differ("%s has %v twice", name, m)
	default:
		m.lit = append(m.lit, name)
	}
}

// neverEntered is what a broker says of a timer that was too late for the wheel.
const neverEntered = "9223372036854775807"

// onTime looks at the time of a delivery. late says that the message was not in the wheel.
func (l *ledger) onTime(m *message, c copyOf, at string, late bool) {
	switch {
	case c.store >= m.due-m.slack:
	case m.delay > 0:
		l.early = append(l.early, early{m, c, at})
	default:
		l.run.differ("%s: %v came %d ms before its time", at, m, m.due-c.store)
	}
	if by := l.run.by(c.store); by.at <= c.store { // it was late if the broker was up
		l.latest = max(l.latest, c.store-max(m.due, by.at))
	}
	if m.recalled == yes && !l.run.recalledInVain(m, c.store, late) {
		l.run.differ("%s: %v was recalled, and came: sent at %d, due after %d ms, stored again after %d ms (late: %t); starts: %s", at, m, m.sent,
			m.due-m.sent, c.store-m.sent, late, l.run.startsAfter(m.sent))
	}
}

// tooEarly looks at what came before its time: when it was stored counts.
func (l *ledger) tooEarly(r reader) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.early {
		if e.physical == 0 { // there was no answer that says where it is
			continue
		}
		f, err := r.ask(code.ViewMessageByID, wire.Ext("offset", e.physical))
		if err != nil {
			return err
		}
		recs, err := wire.Records(f.Body)
		if err != nil || len(recs) != 1 {
			return fmt.Errorf("%v, at %d of the log: %d records, %w", e.message, e.physical, len(recs), err)
		}
		if due := recs[0].StoreTime + e.delay; e.store < due-e.slack {
			l.run.differ("%s: %v came %d ms before its time", e.at, e.message, due-e.store)
		}
	}
	l.early = nil
	return nil
}

// ends is how far each queue reaches at least.
func (l *ledger) ends() map[place]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := map[place]int64{}
	for _, m := range l.order {
		if m.kind == direct && m.stored == yes && !m.gone {
			at := place{m.topic, m.queue}
			ends[at] = max(ends[at], m.offset+max(m.inner, 1))
		}
	}
	return ends
}

// lookFor looks for what was acknowledged and is nowhere. It is told once, and for each queue together: a queue that is not served is one
// fault, however many messages it has.
func (l *ledger) lookFor(b *book) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := map[place][]*message{}
	for _, m := range l.order {
		if m.kind != direct || m.stored != yes || m.gone {
			continue
		}
		if len(m.copies) == 0 && m.key == "" {
			m.gone = true
			gone[place{m.topic, m.queue}] = append(gone[place{m.topic, m.queue}], m)
		}
		for _, name := range m.light {
			if !slices.Contains(m.lit, name) {
				m.gone = true
				gone[place{name, 0}] = append(gone[place{name, 0}], m)
			}
		}
	}
	for at, list := range gone {
		end := int64(0)
		if q := b.queues[at]; q != nil {
			end = q.end()
		}
		l.run.differ("%v ends at %d: %d messages were acknowledged, and are gone: the first is %v, the last is %v", at, end, len(list), list[0], list[len(list)-1])
	}
}

// weigh looks whether there are more copies than there may be, of what has arrived since the last time.
func (l *ledger) weigh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.order {
		if !m.touched {
			continue
		}
		m.touched = false
		byTime(m.copies)
		byTime(m.again)
		n := len(m.copies)
		switch {
		case m.kind == half && n > m.commits:
			l.run.differ("%v came %d times, and was committed %d times (%s): %v", m, n, m.commits, decisions[m.decision], m.copies)
		case m.kind == half && n > 1:
			l.twice += n - 1 // its producer was asked again
		case m.kind != half:
			l.apart(m)
		}
		if n := len(m.again); n > m.backs+m.perhaps && m.topic != popTopic { // pops are looked at one by one
			if !l.run.killedBetween(m.again[0].store, m.again[n-1].store) {
				l.run.differ("%v was sent back %d times, and came again %d times: %v", m, m.backs+m.perhaps, n, m.again)
			} else {
				l.twice += n - m.backs - m.perhaps
			}
		}
	}
}

// apart looks for a kill between any two copies, or whatever else may have doubled a timer.
func (l *ledger) apart(m *message) {
	for i := 1; i < len(m.copies); i++ {
		if !l.run.killedBetween(m.copies[i-1].store, m.copies[i].store) && !(m.kind == later && l.run.enteredTwice(m.sent, m.copies[i].store)) {
			l.run.differ("%v came %d times: %v", m, len(m.copies), m.copies)
			return
		}
		l.twice++
	}
}

func byTime(c []copyOf) {
	slices.SortFunc(c, func(a, b copyOf) int { return int(a.store - b.store) })
}

// missing is what is still to come.
func (l *ledger) missing() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, m := range l.order {
		switch {
		case m.stored != yes || m.gone || m.key != "":
		case m.kind == later && m.recalled != no:
		case m.kind == half && m.decision == endRollback:
			if m.ended == no {
				out = append(out, m.id+" (undecided)")
			}
		case len(m.copies) == 0:
			out = append(out, m.id)
		}
		if len(m.again) < m.backs {
			out = append(out, fmt.Sprintf("%s (sent back %d times, came %d times)", m.id, m.backs, len(m.again)))
		}
	}
	out = append(out, l.turnsMissing()...)
	for _, p := range l.pops {
		if !p.settled() && p.message.stored == yes {
			out = append(out, fmt.Sprintf("%s (to be popped; %s)", p.message.id, strings.Join(p.story, "; ")))
		}
	}
	slices.Sort(out)
	return out
}

// count fills in a report.
func (l *ledger) count(r *Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.order {
		switch m.stored {
		case yes:
			r.Acknowledged++
		case maybe:
			r.Undecided++
		}
		switch {
		case m.kind == later && m.recalled == yes:
			r.Recalled++
		case m.kind == later && m.delay > 0:
			r.Delayed += min(1, len(m.copies))
		case m.kind == later:
			r.Timers += min(1, len(m.copies))
		case m.kind == half && m.decision == endCommit:
			r.Committed += min(1, len(m.copies))
		case m.kind == half && m.ended != no:
			r.RolledBack++
		}
		r.Light += len(m.lit)
		if m.inner > 0 {
			r.Inner += len(m.copies)
		}
		r.Asked += m.asked
		r.Retries += min(m.backs, len(m.again))
	}
	r.Popped, r.CameBack, r.Acks, r.Twice, r.InOrder = l.poppings, l.back, l.acks, l.twice, l.inOrder
	r.Latest = time.Duration(l.latest) * time.Millisecond
}

// killedBetween is whether the broker was killed between two times; then what was delivered before may be delivered once more.
func (r *run) killedBetween(from, to int64) bool {
	return slices.ContainsFunc(r.kills, func(at int64) bool { return at >= from && at <= to })
}

// cutBetween is whether the broker was killed or stopped under load between two times: answers were lost then.
func (r *run) cutBetween(from, to int64) bool {
	return slices.ContainsFunc(r.cuts, func(at int64) bool { return at >= from && at <= to })
}

// startsAfter tells which brokers were started, and ready, how long after a time.
func (r *run) startsAfter(from int64) string {
	var out []string
	for _, s := range r.starts {
		out = append(out, fmt.Sprintf("%s %+d to %+d ms", s.impl, s.began-from, s.at-from))
	}
	return strings.Join(out, ", ")
}

// by is the broker that was up at a time, or starting.
func (r *run) by(at int64) (by start) {
	for _, s := range r.starts {
		if s.began <= at {
			by = s
		}
	}
	return by
}

// ended is when the broker that was started at a time had ended: when the next one was started.
func (r *run) ended(began int64) int64 {
	for _, s := range r.starts {
		if s.began > began {
			return s.began
		}
	}
	return math.MaxInt64
}

// overdue is whether the reference has delivered at a time what was stored earlier, before it was started, and was due by then, or soon after.
// What it finds overdue in its timers it delivers at once and with many threads: timers without a look at what cancels them; and check
// points of pops before the acks that belong to them, which then come too late.
func (r *run) overdue(stored, due, at int64) bool {
	by := r.by(at)
	catchesUp := max(30000, 4*(by.at-by.began)) // ms, on a busy machine
	return by.impl == "java" && stored < by.began && due < by.at+catchesUp
}

// recalledInVain is whether a timer that was recalled may be delivered at a time. The reference delivers what is overdue, what it has been too
// slow to enter in time (late), and what was recalled from itself while it was slow. It also forgets cancellations of what is due while
// it runs, and may end before it has delivered that. Apogee delivers none.
func (r *run) recalledInVain(m *message, at int64, late bool) bool {
	by := r.by(at)
	if by.impl == "java" {
		return late || by.began <= m.sent || r.overdue(m.sent, m.due, at)
	}
	return slices.ContainsFunc(r.starts, func(s start) bool {
		end := r.ended(s.began)
		return s.impl == "java" && s.began < by.began && end > m.sent && m.due < end+1000
	})
}

// enteredTwice is whether the reference has taken over from a broker that was killed after a timer was sent: it enters once more what came
// after the last checkpoint, even where that was entered before.
func (r *run) enteredTwice(sent, at int64) bool {
	return slices.ContainsFunc(r.starts, func(s start) bool {
		return s.impl == "java" && s.began <= at && r.killedBetween(sent, s.began)
	})
}

// role says whether a topic is one that the driver sends to, or one in which its messages come again.
func (r *run) role(topic string) (again, ours bool) {
	if strings.HasPrefix(topic, "%RETRY%") {
		return true, true
	}
	return false, strings.HasPrefix(topic, "Takeover")
}
