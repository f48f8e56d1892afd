package remoting

import "time"

// pacer decides whether the event loop pauses before it looks for more requests.
//
// Where requests come one by one, many thousands a second, waking up for each costs more than the request. A short pause lets some
// gather; it delays each by half a pause on average. Clients that wait for an answer before they send the next request
// would only become slower by it. The two look alike from here, so the pacer tries: it pauses for two windows, and goes on with it
// for as long as nearly as many requests come as without; now and then it looks whether that is still so.
//
// It is a state machine without a clock of its own, used by one goroutine.
type pacer struct {
	state    pacing
	began    time.Duration // of the window
	requests int           // in it
	wakes    int
	windows  int           // in this state
	on       int           // windows with pauses until the next look without them
	rate     float64       // requests a second in the state before, a moving average
	next     time.Duration // no trial before
	backoff  time.Duration // after a trial in vain
	vain     float64       // requests a second before that trial
}

type pacing uint8

const (
	pacingOff   pacing = iota
	pacingTrial        // pausing, to see what comes of it
	pacingOn
	pacingCheck // not pausing, to see what came of it
)

const (
	pacerPause    = 330 * time.Microsecond
	pacerWindow   = 25 * time.Millisecond
	pacerWakes    = 4000 // a second: below it there is nothing to gain
	pacerSettle   = 4    // windows of such a load before a trial
	pacerTrial    = 2    // windows
	pacerOn       = 40   // windows between two checks, of a load that is new or changes
	pacerOnMost   = 320  // and of one that stays the same: a window without pauses costs about twice one with them
	pacerKeeps    = 0.85 // of the requests that came without pauses have to come with them
	pacerBackoff  = time.Second
	pacerPatience = 16 * time.Second
	pacerOther    = 2 // times as many or as few requests are other traffic, of which a trial in vain says nothing
)

// pause says whether to pause now. It is told of each time that the loop has worked what was ready: when, and how many requests.
func (p *pacer) pause(now time.Duration, requests int) bool {
	p.requests += requests
	p.wakes++
	if took := now - p.began; took >= pacerWindow {
		// A window that took much longer was a quiet one.
		p.window(now, float64(p.requests)/took.Seconds(), float64(p.wakes)/took.Seconds())
		p.began, p.requests, p.wakes = now, 0, 0
	}
	return p.state == pacingTrial || p.state == pacingOn
}

// window judges a window that has ended.
func (p *pacer) window(now time.Duration, requests, wakes float64) {
	p.windows++
	switch p.state {
	case pacingOff:
		if wakes < pacerWakes {
			p.windows = 0
			return
		}
		p.average(requests)
		if p.rate*pacerOther < p.vain || p.rate > p.vain*pacerOther {
			p.next, p.backoff = now, 0
		}
		if p.windows >= pacerSettle && now >= p.next {
			p.become(pacingTrial)
		}
	case pacingTrial:
		if requests < p.rate*pacerKeeps {
			p.giveUp(now, p.rate)
		} else if p.windows == pacerTrial {
			p.on = pacerOn
			p.become(pacingOn)
		}
	case pacingOn:
		if p.windows > 1 && (requests < p.rate*pacerKeeps || p.rate < requests*pacerKeeps) {
			p.on = pacerOn
		}
		p.average(requests)
		if p.windows >= p.on {
			p.become(pacingCheck)
		}
	case pacingCheck:
		switch {
		case wakes < pacerWakes:
			p.become(pacingOff)
		case p.rate < requests*pacerKeeps:
			p.giveUp(now, requests)
		default:
			p.backoff, p.on = 0, min(2*p.on, pacerOnMost)
			p.become(pacingOn)
		}
	}
}

// average notes the rate of a window in the present state.
func (p *pacer) average(requests float64) {
	if p.windows == 1 {
		p.rate = requests
		return
	}
	p.rate += (requests - p.rate) / 4
}

func (p *pacer) become(s pacing) { p.state, p.windows = s, 0 }

// giveUp ends the pauses for a while, for a load of that many requests a second without them.
func (p *pacer) giveUp(now time.Duration, requests float64) {
	p.backoff = min(max(2*p.backoff, pacerBackoff), pacerPatience)
	p.next, p.vain = now+p.backoff, requests
	p.become(pacingOff)
}
