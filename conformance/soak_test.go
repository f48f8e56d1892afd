package conformance

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var soakTime = flag.Duration("duration", 10*time.Minute, "how long TestSoak sends with APOGEE_LONG=1")

// What is sent, and to which topics. Each kind of message that has to arrive somewhere is looked for in the groups that read its topic.
const (
	soakPlain  = "SoakPlain" // tags, numbers, delays and timers; groups plain (retries now and then), sql (a filter), pop
	soakTran   = "SoakTran"  // transactions; group tran
	soakOrder  = "SoakOrder" // one sequence a queue; group order
	soakQueues = 4
)

// soak is one broker under all kinds of load, and what is known of its messages.
type soak struct {
	t    *testing.T
	addr string
	end  chan struct{} // closed when producers shall stop
	done chan struct{} // closed when consumers shall

	mu     sync.Mutex
	want   map[string]map[string]time.Time // group, body: acknowledged at
	never  map[string]bool                 // bodies that must not be seen: rolled back
	seen   map[string]map[string]int       // group, body: how often
	next   [soakQueues]int                 // of the orderly group: the next number due
	broken []string
	kills  int
}

// TestSoak mixes all kinds of messages and ways to consume them for -duration, while consumers come and go and the broker is killed and
// started again. At the end each acknowledged message has been delivered, in order where that was promised and none before its time; no
// transaction is undecided and no delayed message is left.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, least := *soakTime, 8*time.Second
	if !long() { // some seconds and two or three kills, so that the whole is tried in each run of the tests
		length, least = 12*time.Second, 3*time.Second
	}
	conf := baseConf("soak-a").With(testkit.Props{
		"transactionCheckInterval": "1000", "transactionTimeOut": "2000", "transactionOpBatchInterval": "300", "transactionCheckMax": "1000",
		"enablePropertyFilter": "true", "messageDelayLevel": "1s 2s 3s 5s 8s", "mappedFileSizeCommitLog": "16777216", "timerPrecisionMs": "100",
		"waitTimeMillsInTransactionQueue": "60000",
	})
	server, err := testTarget(t).Broker(filepath.Join(t.TempDir(), "broker"), "", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Kill() }()
	s := &soak{
		t: t, addr: server.Addr(), end: make(chan struct{}), done: make(chan struct{}), want: map[string]map[string]time.Time{},
		never: map[string]bool{}, seen: map[string]map[string]int{},
	}
	s.setUp()
	var producers, consumers sync.WaitGroup
	for i := range 3 {
		s.each(&producers, s.end, func(c *wire.Conn) error { return s.producePlain(c, i) })
	}
	for q := range soakQueues {
		seq := 0
		s.each(&producers, s.end, func(c *wire.Conn) error { return s.produceOrder(c, q, &seq) })
	}
	timers := 0
	s.each(&producers, s.end, func(c *wire.Conn) error { return s.produceTimers(c, &timers) })
	trans := 0
	s.each(&consumers, s.done, func(c *wire.Conn) error { return s.transact(c, &trans) }) // goes on answering questions
	s.each(&consumers, s.done, func(c *wire.Conn) error { return s.pull(c, "plain", soakPlain, "") })
	s.each(&consumers, s.done, func(c *wire.Conn) error { return s.pull(c, "plain", "%RETRY%plain", "") })
	s.each(&consumers, s.done, func(c *wire.Conn) error { return s.pull(c, "sql", soakPlain, "n BETWEEN 3 AND 6") })
	s.each(&consumers, s.done, func(c *wire.Conn) error { return s.pull(c, "tran", soakTran, "") })
	for i := range 2 {
		s.each(&consumers, s.done, func(c *wire.Conn) error { return s.consumeOrder(c, i) })
		s.each(&consumers, s.done, func(c *wire.Conn) error { return s.pop(c) })
	}
	s.killNowAndThen(server, time.Now().Add(length), least)
	close(s.end)
	producers.Wait()
	s.drain()
	close(s.done)
	consumers.Wait()
	s.judge()
	if err := server.Stop(); err != nil {
		t.Errorf("clean stop at the end: %v", err)
	}
}

func (s *soak) setUp() {
	c := dialTest(s.t, s.addr)
	defer c.Close()
	for _, topic := range []string{soakPlain, soakTran, soakOrder} {
		mustTest(s.t, c, code.UpdateAndCreateTopic, wire.Ext("topic", topic, "defaultTopic", "TBW102", "readQueueNums", soakQueues,
			"writeQueueNums", soakQueues, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
	}
	for _, group := range []string{"plain", "sql", "pop", "tran", "order"} {
		mustTest(s.t, c, code.UpdateAndCreateSubscriptionGroup, nil, fmt.Appendf(nil,
			`{"groupName":%q,"retryMaxTimes":16,"retryQueueNums":1}`, group))
	}
}

// each runs a worker on a connection of its own again and again until stop; a worker that fails gets a new connection.
func (s *soak) each(wg *sync.WaitGroup, stop <-chan struct{}, work func(*wire.Conn) error) {
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := wire.Dial(s.addr)
			if err == nil {
				c.Timeout = 10 * time.Second
				for err == nil && !closed(stop) {
					err = work(c)
				}
				c.Close()
			}
			time.Sleep(20 * time.Millisecond) // the broker may be down
		}
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var errRefused = errors.New("refused")

// send reports whether the message was acknowledged; an error is a connection's end.
func (s *soak) send(c *wire.Conn, m message) (*wire.Frame, error) {
	f, err := c.Call(int(code.SendMessageV2), m.short(), m.filled().body)
	if err != nil {
		return nil, err
	}
	if f.Code != 0 {
		return nil, fmt.Errorf("%w: %v", errRefused, f)
	}
	return f, nil
}

func (s *soak) expect(body string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		if s.want[g] == nil {
			s.want[g] = map[string]time.Time{}
		}
		s.want[g][body] = time.Now()
	}
}

// killNowAndThen kills the broker and starts it again until the end, each time after least, or up to four times as long.
func (s *soak) killNowAndThen(server testkit.Server, end time.Time, least time.Duration) {
	for {
		wait := least + rand.N(3*least)
		if left := time.Until(end); left < wait {
			time.Sleep(left)
			return
		}
		time.Sleep(wait)
		if err := server.Kill(); err != nil {
			s.t.Fatal(err)
		}
		if err := server.Restart(nil); err != nil {
			s.t.Fatalf("start after a kill: %v", err)
		}
		s.kills++
		s.mu.Lock()
		s.t.Logf("killed %d times; acknowledged so far: %s", s.kills, s.countsLocked())
		s.mu.Unlock()
	}
}

func (s *soak) countsLocked() string {
	out := ""
	for g, w := range s.want {
		if g == "again" { // these are seen by the group that sent them back
			out += fmt.Sprintf("%d sent back; ", len(w))
			continue
		}
		out += fmt.Sprintf("%s %d, seen %d; ", g, len(w), len(s.seen[g]))
	}
	return out
}

// missing is what was acknowledged and has not been delivered; of those that were sent back, a second time.
func (s *soak) missing() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for g, bodies := range s.want {
		for b := range bodies {
			ok := s.seen[g][b] > 0
			if g == "again" {
				ok = s.seen["plain"][strings.TrimPrefix(b, "again-")] > 1
			}
			if !ok {
				out[g] = append(out[g], b)
			}
		}
	}
	return out
}

// drain waits until nothing is missing and nothing is undecided, for as long as delays, checks and redeliveries take.
func (s *soak) drain() {
	start := time.Now()
	for said := 0; time.Since(start) < 3*time.Minute; time.Sleep(500 * time.Millisecond) {
		missing, undecided := s.missing(), s.undecided()
		if len(missing) == 0 && undecided == 0 {
			return
		}
		if now := int(time.Since(start) / (15 * time.Second)); now > said {
			said = now
			counts := map[string]int{}
			for g, list := range missing {
				counts[g] = len(list)
			}
			s.t.Logf("%v after the last message: missing %v, %d half messages undecided", time.Since(start).Round(time.Second), counts, undecided)
		}
	}
}

// undecided is how many half messages the check has not passed yet.
func (s *soak) undecided() int64 {
	c, err := wire.Dial(s.addr)
	if err != nil {
		return -1
	}
	defer c.Close()
	at, err1 := c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", tranGroup, "topic", halfTopic, "queueId", 0), nil)
	most, err2 := c.Call(int(code.GetMaxOffset), wire.Ext("topic", halfTopic, "queueId", 0), nil)
	if err1 != nil || err2 != nil || most.Code != 0 {
		return -1
	}
	if at.Code != 0 {
		return most.Int("offset")
	}
	return most.Int("offset") - at.Int("offset")
}

func (s *soak) judge() {
	s.mu.Lock()
	s.t.Logf("%d kills; acknowledged: %s", s.kills, s.countsLocked())
	broken := s.broken
	s.mu.Unlock()
	for _, b := range broken {
		s.t.Error(b)
	}
	for g, list := range s.missing() {
		s.t.Errorf("%s: %d acknowledged messages were not delivered, such as %s", g, len(list), strings.Join(list[:min(5, len(list))], " "))
	}
	if n := s.undecided(); n != 0 {
		s.t.Errorf("%d half messages are undecided", n)
	}
}
