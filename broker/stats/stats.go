// Package stats counts what goes through the broker, per topic and per topic and group, and keeps sums over the last minute, hour
// and day of it (BrokerStatsManager; request 315, mqadmin statsAll).
//
// Counting is one table look-up and three atomic additions to what belongs to the topic; it allocates nothing and keeps nothing of the
// names. The broker's own totals are sums over the topics, made when they are asked for. One sampler, which the broker drives through
// [Stats.Sample], turns counters into windows. Start at [Stats.Put] and [Stats.View].
package stats

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"apogee/internal/names"
	"apogee/internal/prefetch"
)

// Stats are the counters of one broker.
type Stats struct {
	system func(topic string) bool
	topics *names.Table[Item]
	groups *names.Table[Item] // by topic and group, see groupKey
	total  [totals]series

	pops     *names.Table[popItem] // by topic and group
	popTotal [popSeries]series

	mu      sync.Mutex        // guards changes of the tables, and what follows
	gone    [totals]counts    // by topics and groups that have been deleted
	popGone [popSeries]counts // likewise

	daysMu sync.Mutex // guards what follows
	days   days
	beat   metronome
}

// The totals of the broker, with and without its own topics.
const (
	brokerPut = iota
	brokerGot
	userPut
	userGot
	totals
)

// Item is the counters of one topic, or of one group in one topic. With its name before it (see package names) it takes two cache lines;
// what each message changes is in the second.
type Item struct {
	back, dead             atomic.Int64 // returned by the group, given up by it
	messages, bytes, times atomic.Int64 // in (topic) or out (group); times is how often there were any

	gone   atomic.Bool // deleted
	user   bool        // not one of the broker's own topics
	series [itemSeries]atomic.Pointer[series]
}

// Gone tells that what the counters belong to has been deleted: nobody sees what is counted there.
func (it *Item) Gone() bool { return it.gone.Load() }

// Fetch has the processor fetch the counters.
func (it *Item) Fetch() { prefetch.Line(&it.messages) }

// Add counts messages that have come in by so many sends.
func (it *Item) Add(sends, messages, bytes int64) { it.count(sends, messages, bytes) }

// What of an Item has windows.
const (
	numMessages = iota
	numBytes
	numBack
	numDead
	itemSeries
)

func (it *Item) counts(of int) counts {
	switch of {
	case numMessages:
		return counts{it.messages.Load(), it.times.Load()}
	case numBytes:
		return counts{it.bytes.Load(), it.times.Load()}
	case numBack:
		n := it.back.Load()
		return counts{n, n}
	default:
		n := it.dead.Load()
		return counts{n, n}
	}
}

// New makes empty counters. system tells the broker's own topics, which two of the totals leave out.
func New(system func(topic string) bool) *Stats {
	return &Stats{system: system, topics: names.New[Item](), groups: names.New[Item](), pops: newPops()}
}

// Topic is the counters of a topic: whoever keeps them needs no look-up, until they are gone.
func (s *Stats) Topic(topic string) *Item { return s.topic(topic) }

func (s *Stats) topic(topic string) *Item {
	if it := s.topics.Find(topic); it != nil {
		return it
	}
	return s.add(s.topics, topic, topic)
}

func (s *Stats) add(to *names.Table[Item], key, topic string) *Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, it := to.Add(key, func(_ string, it *Item) { it.user = !s.system(strings.Clone(topic)) })
	return it
}

// groupKey is what a group in a topic is filed under. Neither can have such a byte.
func groupKey(b []byte, topic, group string) []byte {
	return append(append(append(b, topic...), 0), group...)
}

// keyRoom is what names take that are not too long for a producer or a consumer.
const keyRoom = 512

func (s *Stats) group(topic, group string) *Item {
	var room [keyRoom]byte
	key := groupKey(room[:0], topic, group)
	name := unsafe.String(unsafe.SliceData(key), len(key)) // nobody keeps it
	if it := s.groups.Find(name); it != nil {
		return it
	}
	return s.add(s.groups, name, topic)
}

// find is topic, or group where there is one, without making it.
func (s *Stats) find(topic, group string) *Item {
	if group == "" {
		return s.topics.Find(topic)
	}
	return s.groups.Find(string(groupKey(nil, topic, group)))
}

// Put counts messages that a topic has taken in.
func (s *Stats) Put(topic string, messages, bytes int64) { s.topic(topic).count(1, messages, bytes) }

// Got counts messages that a group has been given.
func (s *Stats) Got(topic, group string, messages, bytes int64) {
	s.group(topic, group).count(1, messages, bytes)
}

func (it *Item) count(times, messages, bytes int64) {
	it.messages.Add(messages)
	it.bytes.Add(bytes)
	it.times.Add(times)
}

// SentBack counts a message that a group has returned.
func (s *Stats) SentBack(topic, group string) { s.group(topic, group).back.Add(1) }

// DeadLettered counts a message that a group has given up.
func (s *Stats) DeadLettered(topic, group string) { s.group(topic, group).dead.Add(1) }

// DeleteTopic forgets a topic and every group in it.
func (s *Stats) DeleteTopic(topic string) {
	s.drop(func(t, _ string) bool { return t == topic })
}

// DeleteGroup forgets a group in every topic.
func (s *Stats) DeleteGroup(group string) {
	s.drop(func(_, g string) bool { return g != "" && g == group })
}

// drop forgets items; the broker's totals keep what they have counted.
func (s *Stats) drop(which func(topic, group string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropPopsLocked(which)
	for _, t := range []*names.Table[Item]{s.topics, s.groups} {
		var doomed []string
		for key, it := range t.All() {
			if topic, group, _ := strings.Cut(key, "\x00"); which(topic, group) {
				doomed = append(doomed, key)
				it.gone.Store(true)
				it.into(&s.gone, t == s.topics)
			}
		}
		for _, key := range doomed {
			t.Remove(key)
		}
	}
}

// into adds what was put into a topic, or got by a group, to the broker's totals.
func (it *Item) into(total *[totals]counts, put bool) {
	all, user := brokerGot, userGot
	if put {
		all, user = brokerPut, userPut
	}
	c := it.counts(numMessages)
	total[all].add(c)
	if it.user {
		total[user].add(c)
	}
}

// sums is the broker's totals.
func (s *Stats) sums() [totals]counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.gone
	for _, it := range s.topics.All() {
		it.into(&out, true)
	}
	for _, it := range s.groups.All() {
		it.into(&out, false)
	}
	return out
}

// PutTPS is the messages a topic takes in per second, over the last minute.
func (s *Stats) PutTPS(topic string) float64 { return s.find(topic, "").tps() }

// GetTPS is the messages a group takes out of a topic per second, over the last minute.
func (s *Stats) GetTPS(topic, group string) float64 { return s.find(topic, group).tps() }

func (it *Item) tps() float64 {
	if it == nil {
		return 0
	}
	return it.series[numMessages].Load().view().Minute.TPS
}

// Sample takes one sample of everything; the broker calls it every [SamplePeriod]. Hours and days have a slower beat, which it keeps
// itself.
func (s *Stats) Sample(now time.Time) {
	ms, sums := now.UnixMilli(), s.sums()
	s.daysMu.Lock()
	due := s.beat.next(ms)
	s.days.record(now, sums[brokerPut].value, sums[brokerGot].value)
	s.daysMu.Unlock()
	for i := range sums {
		s.total[i].sample(ms, sums[i], due)
	}
	for _, t := range []*names.Table[Item]{s.topics, s.groups} {
		for _, it := range t.All() {
			it.sample(ms, due)
		}
	}
	s.samplePops(ms, due)
}

// sample is called by one goroutine.
func (it *Item) sample(ms int64, due beats) {
	for i := range it.series {
		sampleAt(&it.series[i], ms, it.counts(i), due)
	}
}

// sampleAt makes a series when there is something to count.
func sampleAt(at *atomic.Pointer[series], ms int64, c counts, due beats) {
	if c.times == 0 {
		return
	}
	if at.Load() == nil {
		at.Store(new(series))
	}
	at.Load().sample(ms, c, due)
}

// Days are the totals of messages in and out since the start, as they stood at the last two midnights and stand now (BrokerStats).
type Days struct {
	PutYesterdayMorning, PutTodayMorning, PutNow int64
	GetYesterdayMorning, GetTodayMorning, GetNow int64
}

// Days returns the totals.
func (s *Stats) Days() Days {
	s.daysMu.Lock()
	d := s.days
	s.daysMu.Unlock()
	sums := s.sums()
	return Days{
		PutYesterdayMorning: d.putYesterday, PutTodayMorning: d.putToday, PutNow: sums[brokerPut].value,
		GetYesterdayMorning: d.getYesterday, GetTodayMorning: d.getToday, GetNow: sums[brokerGot].value,
	}
}

type days struct {
	day                    string // of the last record, local
	putYesterday, putToday int64
	getYesterday, getToday int64
}

func (d *days) record(now time.Time, put, got int64) {
	today := now.Format(time.DateOnly)
	if d.day != "" && d.day != today {
		d.putYesterday, d.putToday = d.putToday, put
		d.getYesterday, d.getToday = d.getToday, got
	}
	d.day = today
}
