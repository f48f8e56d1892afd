package stats

import (
	"strings"
	"sync/atomic"
	"unsafe"

	"apogee/internal/names"
)

// popItem counts check points and acknowledgements of one group in one topic. Few groups pop, so it is no part of Item.
type popItem struct {
	of     [popSeries]popCount
	series [popSeries]atomic.Pointer[series]
}

type popCount struct{ value, times atomic.Int64 }

// What of pops has windows.
const (
	numChecks = iota
	numAcks
	popSeries
)

func (it *popItem) counts(of int) counts {
	return counts{it.of[of].value.Load(), it.of[of].times.Load()}
}

// Checked counts a check point that a group was given messages with; Acked counts messages that it has acknowledged. An ordered pop has
// neither.
func (s *Stats) Checked(topic, group string) { s.pop(topic, group, numChecks, 1) }

// Acked counts messages that a group has acknowledged with one request.
func (s *Stats) Acked(topic, group string, messages int) {
	s.pop(topic, group, numAcks, int64(messages))
}

func (s *Stats) pop(topic, group string, of int, n int64) {
	var room [keyRoom]byte
	key := groupKey(room[:0], topic, group)
	name := unsafe.String(unsafe.SliceData(key), len(key)) // nobody keeps it
	it := s.pops.Find(name)
	if it == nil {
		s.mu.Lock()
		_, it = s.pops.Add(name, func(string, *popItem) {})
		s.mu.Unlock()
	}
	it.of[of].value.Add(n)
	it.of[of].times.Add(1)
}

func (s *Stats) findPop(topic, group string) *popItem {
	return s.pops.Find(string(groupKey(nil, topic, group)))
}

// popSums is the broker's totals of pops.
func (s *Stats) popSums() [popSeries]counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.popGone
	for _, it := range s.pops.All() {
		it.into(&out)
	}
	return out
}

func (it *popItem) into(total *[popSeries]counts) {
	for i := range total {
		total[i].add(it.counts(i))
	}
}

// dropPopsLocked forgets items; the totals keep what they have counted.
func (s *Stats) dropPopsLocked(which func(topic, group string) bool) {
	var doomed []string
	for key, it := range s.pops.All() {
		if topic, group, _ := strings.Cut(key, "\x00"); which(topic, group) {
			doomed = append(doomed, key)
			it.into(&s.popGone)
		}
	}
	for _, key := range doomed {
		s.pops.Remove(key)
	}
}

func (s *Stats) samplePops(ms int64, due beats) {
	for i, c := range s.popSums() {
		s.popTotal[i].sample(ms, c, due)
	}
	for _, it := range s.pops.All() {
		for i := range it.series {
			sampleAt(&it.series[i], ms, it.counts(i), due)
		}
	}
}

// popView is a statistic of a group's pops, or of all with an empty topic.
func (s *Stats) popView(topic, group string, of int) (View, bool) {
	if topic == "" {
		if s.popSums()[of].times == 0 {
			return View{}, false
		}
		return s.popTotal[of].view(), true
	}
	it := s.findPop(topic, group)
	if it == nil || it.counts(of).times == 0 {
		return View{}, false
	}
	return it.series[of].Load().view(), true
}

func newPops() *names.Table[popItem] { return names.New[popItem]() }
