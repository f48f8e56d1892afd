package timer

import (
	"hash/maphash"
	"math"
	"strconv"

	"apogee/store"
	"apogee/store/record"
)

// repeat is what recovery knows of messages in the timer topic that were dealt with before.
type repeat struct {
	entered map[int64]bool // commit-log offsets of messages that have a unit; nil: none
	until   int64          // queue offset up to which entered or read may hold
	read    int64          // ms: a message whose slot is before this was delivered; 0: not known
	catchUp int64          // queue offset up to which everything is entered before anything is delivered, so that cancellations are known

	// When the timer is made anew, what was rolled is known by the message that was put for it: when it was entered, and so in which slot
	// it was, is written nowhere.
	search int64 // queue offset from which on such messages are looked for, up to catchUp
	seeds  [2]maphash.Seed
	rolled map[origin]int // how many there are; nil: none are looked for
}

// origin is what a rolled message has in common with what was put for it, and how often the former was rolled.
type origin struct {
	hash  [2]uint64
	rolls int64
}

// searching tells whether messages are still to be looked for that were put for rolled ones.
func (r *repeat) searching() bool { return r.rolled != nil && r.search < r.catchUp }

// findRolled reads some messages of the timer topic and notes which of them were put for rolled ones.
func (s *Service) findRolled() {
	r := &s.repeat
	s.req = store.GetRequest{Topic: Topic, Offset: r.search, MaxCount: enterCount, MaxBytes: math.MaxInt32}
	s.opts.Store.Get(&s.req, &s.res)
	defer s.res.Release()
	for _, region := range s.res.Regions {
		for len(region) >= record.MinSize {
			size := int(record.SizeOf(region))
			if size < record.MinSize || size > len(region) {
				break
			}
			var h record.Header
			if record.Parse(region[:size], &h) == nil {
				if rolls := rollsOf(h.Properties); rolls > 0 {
					r.rolled[r.origin(&h, rolls-1)]++
				}
			}
			region = region[size:]
		}
	}
	if s.res.Next > r.search {
		r.search = s.res.Next
		return
	}
	r.search = r.catchUp // there is nothing to go on to
}

// wasRolled tells whether a message was put for this one. Each of them stands for one.
func (r *repeat) wasRolled(h *record.Header) bool {
	if len(r.rolled) == 0 {
		return false
	}
	o := r.origin(h, rollsOf(h.Properties))
	n := r.rolled[o]
	switch n {
	case 0:
		return false
	case 1:
		delete(r.rolled, o)
	default:
		r.rolled[o] = n - 1
	}
	return true
}

// origin hashes what rolling does not change. The order of the properties does not count, since Java writes them in another.
func (r *repeat) origin(h *record.Header, rolls int64) origin {
	o := origin{rolls: rolls}
	for i, seed := range r.seeds {
		var m maphash.Hash
		m.SetSeed(seed)
		for c := record.Pairs(h.Properties); c.Next(); {
			switch string(c.Name) {
			case PropEntered, PropDelivered, PropRolls, record.PropCRC32:
				continue
			}
			m.Reset()
			_, _ = m.Write(c.Name)
			_ = m.WriteByte(record.NameEnd)
			_, _ = m.Write(c.Value)
			o.hash[i] += m.Sum64()
		}
		m.Reset()
		_, _ = m.Write(h.Body)
		o.hash[i] += m.Sum64()
	}
	return o
}

func rollsOf(props []byte) int64 {
	n, _ := strconv.ParseInt(view(record.PropertyBytes(props, PropRolls)), 10, 32)
	return n
}

// known tells whether recovery knows that a message was dealt with before.
func (s *Service) known(h *record.Header, t *timed) bool {
	r := &s.repeat
	if r.wasRolled(h) {
		return true
	}
	if r.until == 0 {
		return false
	}
	if h.QueueOffset >= r.until {
		r.until, r.entered, r.read = 0, nil, 0
		return false
	}
	return r.entered[h.PhysicalOffset] || s.wheel.floor(t.out) < r.read
}
