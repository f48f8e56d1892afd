package ha

import (
	"sync"
	"time"
)

// meter counts bytes by the second, and says how many may follow (Java FlowMonitor).
type meter struct {
	mu   sync.Mutex // a leaf
	sec  int64      // the second that count is of
	now  int64
	last int64 // of the second before
	most int64 // of any second
}

// take counts n bytes.
func (m *meter) take(at time.Time, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(at)
	m.now += n
	m.most = max(m.most, m.now)
}

func (m *meter) turn(at time.Time) {
	switch s := at.Unix(); {
	case s == m.sec:
	case s == m.sec+1:
		m.sec, m.last, m.now = s, m.now, 0
	default:
		m.sec, m.last, m.now = s, 0, 0
	}
}

// room is how many bytes may follow in this second, and when the next one begins.
func (m *meter) room(at time.Time, most int64) (n int64, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(at)
	return max(most-m.now, 0), at.Truncate(time.Second).Add(time.Second).Sub(at)
}

// perSecond is how many there were in the last full second.
func (m *meter) perSecond(at time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(at)
	return m.last
}

// busiest is how many there were in the second that had most.
func (m *meter) busiest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}
