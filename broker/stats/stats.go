// Package stats counts what goes through the broker, per topic and per topic and group, and keeps sums over the last minute, hour
// and day of it (BrokerStatsManager; request 315, mqadmin statsAll).
//
// Counting is one table look-up and a few atomic additions; it allocates nothing and keeps nothing of the names. One sampler, which the
// broker drives through [Stats.Sample], turns counters into windows. Start at [Stats.Put] and [Stats.View].
package stats

import (
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the counters of one broker.
type Stats struct {
	seed   maphash.Seed
	shards [shardCount]atomic.Pointer[map[key]*Item] // copied on change
	mu     sync.Mutex                                // guards changes of shards

	system func(topic string) bool
	// Totals of the broker, with and without its own topics. Only count is used.
	brokerPut, brokerGot, userPut, userGot Item

	daysMu sync.Mutex // guards what follows
	days   days
	beat   metronome
}

const shardCount = 64

// key is topic and, for what groups do, group.
type key struct{ topic, group string }

// Item is the counters of one topic, or of one group in one topic.
type Item struct {
	count, bytes series // messages and bytes in (topic) or out (group)
	back, dead   series // returned by the group, given up by it
	user         bool   // not one of the broker's own topics
}

// New makes empty counters. system tells the broker's own topics, which two of the totals leave out.
func New(system func(topic string) bool) *Stats {
	return &Stats{seed: maphash.MakeSeed(), system: system}
}

func (s *Stats) item(topic, group string) *Item {
	h := (maphash.String(s.seed, topic) ^ maphash.String(s.seed, group)*31) % shardCount
	if m := s.shards[h].Load(); m != nil {
		if it := (*m)[key{topic, group}]; it != nil {
			return it
		}
	}
	return s.add(h, topic, group)
}

func (s *Stats) add(h uint64, topic, group string) *Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[key]*Item, 1)
	if m := s.shards[h].Load(); m != nil {
		if it := (*m)[key{topic, group}]; it != nil {
			return it
		}
		next = maps.Clone(*m)
	}
	k := key{strings.Clone(topic), strings.Clone(group)}
	it := &Item{user: !s.system(k.topic)}
	next[k] = it
	s.shards[h].Store(&next)
	return it
}

// find is item without making one.
func (s *Stats) find(topic, group string) *Item {
	h := (maphash.String(s.seed, topic) ^ maphash.String(s.seed, group)*31) % shardCount
	if m := s.shards[h].Load(); m != nil {
		return (*m)[key{topic, group}]
	}
	return nil
}

// Put counts messages that a topic has taken in.
func (s *Stats) Put(topic string, messages, bytes int64) {
	it := s.item(topic, "")
	it.count.add(messages, 1)
	it.bytes.add(bytes, 1)
	s.brokerPut.count.add(messages, 1)
	if it.user {
		s.userPut.count.add(messages, 1)
	}
}

// Got counts messages that a group has been given.
func (s *Stats) Got(topic, group string, messages, bytes int64) {
	it := s.item(topic, group)
	it.count.add(messages, 1)
	it.bytes.add(bytes, 1)
	s.brokerGot.count.add(messages, 1)
	if it.user {
		s.userGot.count.add(messages, 1)
	}
}

// SentBack counts a message that a group has returned.
func (s *Stats) SentBack(topic, group string) { s.item(topic, group).back.add(1, 1) }

// DeadLettered counts a message that a group has given up.
func (s *Stats) DeadLettered(topic, group string) { s.item(topic, group).dead.add(1, 1) }

// DeleteTopic forgets a topic and every group in it.
func (s *Stats) DeleteTopic(topic string) { s.drop(func(k key) bool { return k.topic == topic }) }

// DeleteGroup forgets a group in every topic.
func (s *Stats) DeleteGroup(group string) { s.drop(func(k key) bool { return k.group == group }) }

func (s *Stats) drop(gone func(key) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.shards {
		m := s.shards[i].Load()
		if m == nil {
			continue
		}
		next := maps.Clone(*m)
		maps.DeleteFunc(next, func(k key, _ *Item) bool { return gone(k) })
		s.shards[i].Store(&next)
	}
}

// PutTPS is the messages a topic takes in per second, over the last minute.
func (s *Stats) PutTPS(topic string) float64 {
	if it := s.find(topic, ""); it != nil {
		return it.count.view().Minute.TPS
	}
	return 0
}

// GetTPS is the messages a group takes out of a topic per second, over the last minute.
func (s *Stats) GetTPS(topic, group string) float64 {
	if it := s.find(topic, group); it != nil {
		return it.count.view().Minute.TPS
	}
	return 0
}

// Sample takes one sample of everything; the broker calls it every [SamplePeriod]. Hours and days have a slower beat, which it keeps
// itself.
func (s *Stats) Sample(now time.Time) {
	ms := now.UnixMilli()
	s.daysMu.Lock()
	due := s.beat.next(ms)
	s.days.record(now, s.brokerPut.count.value.Load(), s.brokerGot.count.value.Load())
	s.daysMu.Unlock()
	for _, it := range []*Item{&s.brokerPut, &s.brokerGot, &s.userPut, &s.userGot} {
		it.sample(ms, due)
	}
	for i := range s.shards {
		if m := s.shards[i].Load(); m != nil {
			for _, it := range *m {
				it.sample(ms, due)
			}
		}
	}
}

func (it *Item) sample(ms int64, due beats) {
	it.count.sample(ms, due)
	it.bytes.sample(ms, due)
	it.back.sample(ms, due)
	it.dead.sample(ms, due)
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
	return Days{
		PutYesterdayMorning: d.putYesterday, PutTodayMorning: d.putToday, PutNow: s.brokerPut.count.value.Load(),
		GetYesterdayMorning: d.getYesterday, GetTodayMorning: d.getToday, GetNow: s.brokerGot.count.value.Load(),
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
