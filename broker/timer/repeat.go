package timer

import (
	"errors"
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

	// What is up to catchUp may have to be looked at before it is entered. When the timer is made anew, what was rolled is known by the message
	// that was put for it: when it was entered, and so in which slot it was, is written nowhere. And what comes too late for its slot, since
	// whoever was here before had passed that without it, is not delivered if it was cancelled.
	search  int64 // queue offset of the next message to look at
	seeds   [2]maphash.Seed
	rolled  map[origin]int   // how many there are; nil: none are looked for
	cancels map[string]int64 // slots by key; nil: none are looked for
}

// origin is what a rolled message has in common with what was put for it, and how often the former was rolled.
type origin struct {
	hash  [2]uint64
	rolls int64
}

// searching tells whether messages are still to be looked at.
func (r *repeat) searching() bool {
	return (r.rolled != nil || r.cancels != nil) && r.search < r.catchUp
}

// lookAhead reads some messages of the timer topic and notes which of them were put for rolled ones, or cancel what is late.
func (s *Service) lookAhead() {
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
				s.noteAhead(&h)
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

func (s *Service) noteAhead(h *record.Header) {
	r := &s.repeat
	if rolls := rollsOf(h.Properties); rolls > 0 && r.rolled != nil {
		r.rolled[r.origin(h, rolls-1)]++
	}
	var t timed
	if r.cancels == nil || t.parse(h.Properties) != nil || t.cancels == nil {
		return
	}
	if out := s.wheel.floor(t.out); out < s.read && (h.QueueOffset >= r.until || out >= r.read) { // else both are done with
		r.cancels[string(t.cancels)] = out
	}
}

// errAhead says that there is something to be looked at before a message can be dealt with.
var errAhead = errors.New("messages further ahead are to be looked at first")

// cancelledLate tells whether a message that is too late for its slot was cancelled.
func (s *Service) cancelledLate(h *record.Header, t *timed, out int64) (bool, error) {
	r := &s.repeat
	if h.QueueOffset >= r.catchUp || t.uniq == nil {
		return false, nil
	}
	if r.cancels == nil {
		r.cancels, r.search = make(map[string]int64), h.QueueOffset+1
		return false, errAhead
	}
	at, ok := r.cancels[s.cancelKey(t)]
	return ok && at == out, nil
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
