package lite

import (
	"strconv"
	"time"

	"apogee/compat/body"
)

// TTL is after how many minutes without messages a lite topic of a parent is deleted; -1: never (lite.topic.expiration).
func TTL(parent *body.TopicConfig) int32 {
	n, err := strconv.ParseInt(parent.Attributes["lite.topic.expiration"], 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// Outdated are the light queues of lite topics whose time is over. last is when a queue got its last message; at least least must have
// passed since, whatever its parent says.
func Outdated(queues []string, parent func(name string) (*body.TopicConfig, bool), last func(queue string) time.Time, now time.Time, least time.Duration) []string {
	var out []string
	for _, q := range queues {
		name, _, ok := Split(q)
		if !ok {
			continue
		}
		t, ok := parent(name)
		if !ok {
			continue
		}
		minutes := TTL(t)
		at := last(q)
		if minutes <= 0 || at.IsZero() {
			continue
		}
		if idle := now.Sub(at); idle >= least && idle > time.Duration(minutes)*time.Minute {
			out = append(out, q)
		}
	}
	return out
}

// Forget ends all subscriptions to a light queue, which is deleted.
func (s *Service) Forget(queue string) {
	s.mu.Lock()
	defer s.unlock()
	for _, c := range s.of[queue] {
		s.leaveLocked(c, queue)
	}
}

// Here tells whether a lite topic that is new belongs to this broker.
func (s *Service) Here(parent, topic string) bool { return s.opts.Here(parent)(topic) }
