package store

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"apogee/store/record"
)

// cpuTime is what this thread has used; the benchmarks below report it, since machines that tests run on are shared.
func cpuTime(b testing.TB) time.Duration {
	const rusageThread = 1
	var u syscall.Rusage
	must(b, syscall.Getrusage(rusageThread, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// dispatchBench runs a dispatcher over records that are only pretended.
func dispatchBench(b testing.TB, change func(*Options)) *Store {
	b.Helper()
	s := openReal(b, change)
	s.dispatch.start(0)
	b.Cleanup(func() {
		s.dispatch.stop(0) // the index may wait for records that do not exist
		must(b, s.Close())
	})
	return s
}

// pretend puts a record that exists as its slip only.
func pretend(s *Store, q *queue, dig *digest, phys int64, size int32) {
	s.dispatch.push(q, dig, q.next, phys, 1_700_000_000_000, size)
	s.dispatch.slips.publish()
	q.next++
	s.commit.written.Store(phys + int64(size))
	s.dispatch.wake()
	// Slips that the ring has no room for are read from the log, of which there is none here.
	for s.dispatch.pos.Load() < phys+int64(size) {
		runtime.Gosched() // somebody else has the right to dispatch just now
		s.dispatch.wake()
	}
}

func BenchmarkDispatch(b *testing.B) {
	for _, c := range []struct {
		name   string
		queues int32
		props  string
	}{
		{"1 queue", 1, "TAGS\x01TagA\x02"},
		{"16 queues", 16, "TAGS\x01TagA\x02"},
		{"40000 queues", 40000, "TAGS\x01TagA\x02"},
		{"16 queues and keys", 16, "UNIQ_KEY\x017F0000010001532A1F0C1B2A3F4D0001\x02TAGS\x01TagA\x02KEYS\x01k1\x02"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := dispatchBench(b, func(o *Options) { o.MessageIndexEnable = c.props[0] == 'U' })
			var queues []*queue
			for i := range c.queues {
				queues = append(queues, s.queues.getOrCreate(fmt.Sprintf("Topic%d", i/4), i%4))
			}
			m := &record.Message{Properties: c.props}
			var dig digest
			s.digest(&dig, queues[0], m)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			cpu, n := cpuTime(b), int64(0)
			for b.Loop() {
				pretend(s, queues[n%int64(c.queues)], &dig, n*1024, 1024)
				n++
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n), "cpu-ns/op")
		})
	}
}

// BenchmarkQueueEntry is the least that an entry can cost: what a put would do itself under the append lock.
func BenchmarkQueueEntry(b *testing.B) {
	s := dispatchBench(b, nil)
	q := s.queues.getOrCreate("BenchTopic", 0)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu, n := cpuTime(b), int64(0)
	for b.Loop() {
		q.cq.put(n, n*1024, 1024, 0, &s.dispatch.heap)
		n++
		if n%3276 == 0 {
			q.cq.tail.Load().prev.Store(nil)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n), "cpu-ns/op")
	q.cq.saved.Store(n)
	q.cq.tail.Store(nil)
}

func BenchmarkDigest(b *testing.B) {
	s := dispatchBench(b, nil)
	m := benchMessage(16)
	q := s.queues.getOrCreate("BenchTopic", 0)
	var dig digest
	b.ReportAllocs()
	for b.Loop() {
		s.digest(&dig, q, m)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, c := range []struct {
		name  string
		saved bool
	}{{"from memory", false}, {"from files", true}} {
		b.Run(c.name, func(b *testing.B) {
			s := benchStore(b, nil)
			m := benchMessage(1024)
			for range 3200 {
				put(b, s, m)
			}
			if c.saved {
				must(b, s.flushQueues(true))
				must(b, s.flushQueues(true))
				s.queues.get(m.Topic, 0).cq.tail.Store(nil)
			}
			var res GetResult
			req := GetRequest{Topic: m.Topic, MaxCount: 32}
			b.ReportAllocs()
			for b.Loop() {
				s.Get(&req, &res)
				if res.Count != 32 {
					b.Fatal(res.Status, res.Count)
				}
				req.Offset = (req.Offset + 32) % 3200
			}
			res.Release()
		})
	}
}
