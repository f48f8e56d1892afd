package conformance

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// TestKillUnderLoad kills the broker with SIGKILL while producers send, again and again, and looks for every acknowledged message.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	target := needBinary(t)
	rounds := 3
	if long() {
		rounds = 20
	}
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			killUnderLoad(t, target, mode, rounds)
		})
	}
}

const (
	crashQueues    = 4
	crashProducers = 4
	crashTopic     = "CrashTopic"
)

// crashBody has its sum in front, so that a torn one is seen.
func crashBody(producer, seq int, size int) []byte {
	b := make([]byte, 48+size)
	binary.BigEndian.PutUint64(b[32:], uint64(producer))
	binary.BigEndian.PutUint64(b[40:], uint64(seq))
	for i := 48; i < len(b); i++ {
		b[i] = byte(i*31 + seq)
	}
	sum := sha256.Sum256(b[32:])
	copy(b, sum[:])
	return b
}

type place struct {
	queue  int
	offset int64
}

// acked is what producers were told.
type acked struct {
	mu     sync.Mutex
	bodies map[place][32]byte // sum of the body
}

func (a *acked) add(p place, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bodies[p] = [32]byte(body[:32])
}

func killUnderLoad(t *testing.T, target testkit.Target, mode string, rounds int) {
	rnd := rand.New(rand.NewPCG(1, uint64(len(mode))))
	conf := baseConf("crash-a").With(testkit.Props{
		"flushDiskType": mode, "mappedFileSizeCommitLog": "1048576", "mappedFileSizeConsumeQueue": "6000",
		"maxHashSlotNum": "500", "maxIndexNum": "3000",
	})
	s, err := target.Broker(filepath.Join(t.TempDir(), "broker"), "127.0.0.1:1", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Kill() }()
	all := &acked{bodies: map[place][32]byte{}}
	var checked [crashQueues]int64
	for round := range rounds {
		conn := dialTest(t, s.Addr())
		if round == 0 {
			mustTest(t, conn, code.UpdateAndCreateTopic, wire.Ext("topic", crashTopic, "defaultTopic", "TBW102", "readQueueNums", crashQueues,
				"writeQueueNums", crashQueues, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
		}
		before := len(all.bodies)
		var wg sync.WaitGroup
		for p := range crashProducers {
			wg.Go(func() { produceUntilClosed(s.Addr(), p, round, all) })
		}
		// Not before something was acknowledged: a kill of an idle broker shows nothing.
		waitTest(t, 20*time.Second, "first acknowledgement", func() bool {
			all.mu.Lock()
			defer all.mu.Unlock()
			return len(all.bodies) > before
		})
		time.Sleep(time.Duration(30+rnd.IntN(500)) * time.Millisecond) // the moment of the kill: this is the random part, not a wait
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		conn.Close()
		if err := s.Restart(nil); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkAfterCrash(t, s.Addr(), all, &checked, round)
		t.Logf("round %d: %d messages acknowledged so far, all there", round, len(all.bodies))
	}
	// Once more from the beginning: what was checked in early rounds must still be there.
	checked = [crashQueues]int64{}
	checkAfterCrash(t, s.Addr(), all, &checked, rounds)
	if err := s.Stop(); err != nil {
		t.Errorf("clean stop at the end: %v", err)
	}
}

// produceUntilClosed sends with several requests in flight until the connection breaks.
func produceUntilClosed(addr string, producer, round int, all *acked) {
	c, err := wire.Dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	type sent struct {
		bodies [][]byte
		queue  int
		answer <-chan *wire.Frame
	}
	flight := make(chan sent, 32)
	var wg sync.WaitGroup
	wg.Go(func() {
		for x := range flight {
			select {
			case f := <-x.answer:
				if f.Code == 0 {
					for i, body := range x.bodies {
						all.add(place{x.queue, f.Int("queueOffset") + int64(i)}, body)
					}
				}
			case <-c.Done():
				// An answer that came before the end still counts.
				select {
				case f := <-x.answer:
					if f.Code == 0 {
						for i, body := range x.bodies {
							all.add(place{x.queue, f.Int("queueOffset") + int64(i)}, body)
						}
					}
				default:
				}
			}
		}
	})
	for seq := round << 32; ; seq++ {
		queue := (seq + producer) % crashQueues
		x := sent{queue: queue}
		m := message{topic: crashTopic, queue: queue, properties: wire.Properties("KEYS", fmt.Sprint("k", seq%100), "UNIQ_KEY", fmt.Sprintf("%016d%016x", producer, seq))}
		request, body := code.SendMessageV2, crashBody(producer, seq, seq*37%3000)
		x.bodies = [][]byte{body}
		if seq%10 == 9 {
			more := crashBody(producer, seq|1<<62, 100)
			x.bodies = append(x.bodies, more)
			request, m.batch = code.SendBatchMessage, true
			body = wire.Batch(wire.BatchItem{Body: body}, wire.BatchItem{Body: more})
		}
		if x.answer, err = c.Begin(int(request), m.short(), body); err != nil {
			break
		}
		flight <- x
	}
	close(flight)
	wg.Wait()
}

// checkAfterCrash reads what is new in each queue: offsets without a gap, whole bodies, and every acknowledged message at its place.
func checkAfterCrash(t *testing.T, addr string, all *acked, checked *[crashQueues]int64, round int) {
	t.Helper()
	c := dialTest(t, addr)
	defer c.Close()
	for q := range crashQueues {
		next := checked[q]
		end := mustTest(t, c, code.GetMaxOffset, wire.Ext("topic", crashTopic, "queueId", q), nil).Int("offset")
		for next < end {
			f, err := c.Call(int(code.PullMessage), pullExt("crash_reader", crashTopic, q, next), nil)
			if err != nil {
				t.Fatal(err)
			}
			if f.Code != 0 {
				t.Fatalf("round %d: pull of queue %d at %d of %d: %v", round, q, next, end, f)
			}
			recs, err := wire.Records(f.Body)
			if err != nil {
				t.Fatalf("round %d: queue %d at %d: %v", round, q, next, err)
			}
			for _, rec := range recs {
				if rec.QueueOffset != next {
					t.Fatalf("round %d: queue %d has offset %d where %d is due", round, q, rec.QueueOffset, next)
				}
				if len(rec.Body) < 48 || [32]byte(rec.Body[:32]) != sha256.Sum256(rec.Body[32:]) {
					t.Fatalf("round %d: message %d of queue %d is torn", round, next, q)
				}
				if want, ok := all.bodies[place{q, next}]; ok && want != [32]byte(rec.Body[:32]) {
					t.Fatalf("round %d: message %d of queue %d is not the one that was acknowledged there", round, next, q)
				}
				next++
			}
		}
		for p := range all.bodies {
			if p.queue == q && p.offset >= next {
				t.Fatalf("round %d: message %d of queue %d was acknowledged, the queue ends at %d", round, p.offset, q, next)
			}
		}
		checked[q] = next
	}
}

func dialTest(t testing.TB, addr string) *wire.Conn {
	t.Helper()
	c, err := wire.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustTest(t testing.TB, c *wire.Conn, request int32, ext map[string]string, body []byte) *wire.Frame {
	t.Helper()
	f, err := c.Call(int(request), ext, body)
	if err != nil {
		t.Fatal(err)
	}
	if f.Code != 0 {
		t.Fatalf("request %d: %v", request, f)
	}
	return f
}

func waitTest(t testing.TB, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}
