package store

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apogee/store/vfs"
)

// TestAsyncLossIsBounded: with ASYNC_FLUSH a power cut takes no message that was acknowledged longer ago than flushCommitLogThoroughInterval
// and one tick of flushIntervalCommitLog. The clock is simulated, so that this is exact: nothing but the intervals takes time.
func TestAsyncLossIsBounded(t *testing.T) {
	seeds := 60
	if os.Getenv("APOGEE_LONG") == "1" {
		seeds = 1000
	}
	var all asyncLoss
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) { all.cut(t, seed) })
	}
	t.Logf("power cuts, ASYNC_FLUSH, simulated clock: seeds 0 to %d; %d messages acknowledged, %d lost; the oldest of these was acknowledged %.3f of the bound before the cut",
		seeds-1, all.acked, all.lost, all.share)
	if all.lost == 0 || all.share < 0.9 {
		t.Error("the bound was not tried")
	}
}

// asyncLoss is what came of the cuts.
type asyncLoss struct {
	acked, lost int
	share       float64 // of the bound: the age of the oldest message that was lost
}

// ackedPut is an acknowledged message.
type ackedPut struct {
	body string
	end  int64 // of its record
	at   time.Time
}

// cut has clients send for a while, now and then nothing for long, and then cuts the power.
func (a *asyncLoss) cut(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	r := newRig(t)
	r.mem = vfs.NewMem(time.Now)
	o := &r.opts
	o.FS, o.Now = r.mem, time.Now
	o.FlushIntervalCommitLogMs, o.FlushCommitLogThoroughMs = 1+rnd.Int64N(1000), 1+rnd.Int64N(20_000)
	bound := time.Duration(o.FlushIntervalCommitLogMs+o.FlushCommitLogThoroughMs) * time.Millisecond
	s := r.open()
	var acks []ackedPut
	for range 5 + rnd.IntN(60) {
		for range rnd.IntN(3) {
			m := message("T", int32(rnd.IntN(2)), strings.Repeat("x", rnd.IntN(2000))+string(rune('a'+len(acks)%26)))
			acks = append(acks, ackedPut{string(m.Body), put(t, s, m).NextOffset, time.Now()})
		}
		wait := rnd.Int64N(int64(bound) / 8)
		if rnd.IntN(10) == 0 {
			wait += rnd.Int64N(int64(2 * bound))
		}
		<-time.After(time.Duration(wait))
	}
	synctest.Wait() // who is due at this moment has had his turn
	now, flushed := time.Now(), s.Flushed()
	after := r.on(r.mem.CrashClone(seed))
	abandon(s)
	s = after.open()
	have := s.Stats().MaxPhysical
	must(t, s.Close())
	a.acked += len(acks)
	for _, p := range acks {
		if p.end <= have {
			continue
		}
		a.lost++
		age := now.Sub(p.at)
		if a.share = max(a.share, float64(age)/float64(bound)); age > bound || p.end <= flushed {
			t.Errorf("seed %d: a message of %v before is lost, the bound is %v; the log ends at %d, its record at %d, %d was flushed", seed, age, bound, have, p.end, flushed)
		}
	}
}
