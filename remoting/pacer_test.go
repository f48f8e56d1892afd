package remoting

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drive lets a pacer see a load for some time: gap is the time from one wake-up to the next without a pause and with one, each
// wake-up brings so many requests. It returns for how much of the time the pacer paused.
func drive(p *pacer, now *time.Duration, length, gap, pausedGap time.Duration, requests, pausedRequests int) float64 {
	var paused time.Duration
	for end := *now + length; *now < end; {
		on, took, n := p.state == pacingTrial || p.state == pacingOn, gap, requests
		if on {
			took, n = pausedGap, pausedRequests
			paused += took
		}
		*now += took
		p.pause(*now, n)
	}
	return float64(paused) / float64(length)
}

func TestPacer(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		name              string
		gap, pausedGap    time.Duration
		requests, inPause int
		atLeast, atMost   float64
		backsOff          bool
	}{
		{name: "an open loop of 20,000 requests a second", gap: 50 * us, pausedGap: 150 * us, requests: 1, inPause: 3, atLeast: 0.985, atMost: 1},
		{name: "one client that waits for its answers", gap: 40 * us, pausedGap: 140 * us, requests: 1, inPause: 1, atMost: 0.02, backsOff: true},
		{name: "sixteen of them", gap: 40 * us, pausedGap: 250 * us, requests: 4, inPause: 16, atMost: 0.02, backsOff: true},
		{name: "too little to gain", gap: 500 * us, pausedGap: 500 * us, requests: 1, inPause: 1, atMost: 0},
		{name: "a full loop whose clients have enough in flight", gap: 100 * us, pausedGap: 200 * us, requests: 50, inPause: 100, atLeast: 0.985, atMost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p pacer
			var now time.Duration
			share := drive(&p, &now, 30*time.Second, c.gap, c.pausedGap, c.requests, c.inPause)
			if share < c.atLeast || share > c.atMost {
				t.Errorf("paused for %.3f of the time, want %.3f to %.3f", share, c.atLeast, c.atMost)
			}
			if got := p.backoff > 0; got != c.backsOff {
				t.Errorf("back-off %v", p.backoff)
			}
		})
	}
}

// TestPacerFollowsTheLoad: a load that stops being one to pause for is no longer paused after the next look.
func TestPacerFollowsTheLoad(t *testing.T) {
	const us = time.Microsecond
	var p pacer
	var now time.Duration
	if share := drive(&p, &now, 5*time.Second, 50*us, 150*us, 1, 3); share < 0.8 {
		t.Fatalf("open loop: paused for %.3f of the time", share)
	}
	drive(&p, &now, 2*time.Second, 40*us, 140*us, 1, 1) // to a client that waits
	if share := drive(&p, &now, 5*time.Second, 40*us, 140*us, 1, 1); share > 0.05 {
		t.Errorf("closed loop: paused for %.3f of the time", share)
	}
	drive(&p, &now, 20*time.Second, 50*us, 150*us, 1, 3)
	if share := drive(&p, &now, 5*time.Second, 50*us, 150*us, 1, 3); share < 0.8 {
		t.Errorf("open loop again: paused for %.3f of the time", share)
	}
	drive(&p, &now, 2*time.Second, time.Millisecond, time.Millisecond, 1, 1)
	if p.state != pacingOff {
		t.Errorf("hardly any load: state %d", p.state)
	}
}

// TestPacerTakesOtherTrafficAsNew: what was found out about one load does not keep another waiting.
func TestPacerTakesOtherTrafficAsNew(t *testing.T) {
	const us = time.Microsecond
	var p pacer
	var now time.Duration
	drive(&p, &now, time.Minute, 40*us, 250*us, 4, 16) // sixteen clients that wait: 100,000/s, a long back-off
	if p.backoff < pacerPatience {
		t.Fatalf("back-off %v", p.backoff)
	}
	if share := drive(&p, &now, 2*time.Second, 50*us, 150*us, 1, 3); share < 0.8 {
		t.Errorf("an open loop of 20,000/s after it: paused for %.3f of the time", share)
	}
}

// TestPacerLooksWithoutPausesNowAndThen: whatever comes, the time without a look at the load without pauses is bounded.
func TestPacerLooksWithoutPausesNowAndThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pacer
		var now, last time.Duration
		for range 10_000 {
			now += time.Duration(rapid.Int64Range(int64(time.Microsecond), int64(30*time.Millisecond)).Draw(t, "gap"))
			if !p.pause(now, rapid.IntRange(0, 1000).Draw(t, "requests")) {
				last = now
			}
			if limit := (pacerOnMost + pacerTrial + 2) * (pacerWindow + 30*time.Millisecond); now-last > limit {
				t.Fatalf("paused for %v", now-last)
			}
		}
	})
}
