package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// TailOptions say what traffic a bare tail makes.
type TailOptions struct {
	Dir      string        // on the disk that a store would be on
	Rate     int           // messages a second
	Duration time.Duration // how long messages are sent
	Pause    time.Duration // of the loop after each look, for messages to gather; 0 is none
}

func (o *TailOptions) check() error {
	if o.Rate < 1 || o.Rate > 100_000 || o.Duration.Seconds()*float64(o.Rate) < 1 || o.Pause < 0 {
		return fmt.Errorf("a bare tail of %d messages/s for %v with pauses of %v: not in 1..100,000, one message long, 0 or more", o.Rate, o.Duration, o.Pause)
	}
	return nil
}

func (o *TailOptions) settings() string {
	s := fmt.Sprintf("%d messages/s: read, written to a file, answered, sent to one of %d that ask for the next, no protocol", o.Rate, tailConsumers)
	if o.Pause > 0 {
		s += fmt.Sprintf(", with pauses of %v", o.Pause)
	}
	return s
}

// What a message of 1 KiB takes on the wire and in the log.
const (
	tailRequest   = 1364
	tailAnswer    = 301
	tailDelivery  = 1505
	tailAsk       = 370
	tailConsumers = 2
)

var errTailInput = errors.New("a bare tail's connection ended early")

// whole cuts bytes that come in any pieces into messages of one size; it keeps the time that each begins with.
type whole struct {
	size  int
	have  int // bytes of the message that is not complete
	stamp [8]byte
}

// add takes what came, and calls done with the time in each message that has become complete.
func (w *whole) add(b []byte, done func(stamp uint64)) {
	for len(b) > 0 {
		n := min(len(b), w.size-w.have)
		if w.have < len(w.stamp) {
			copy(w.stamp[w.have:], b[:n])
		}
		w.have += n
		b = b[n:]
		if w.have == w.size {
			w.have = 0
			done(binary.BigEndian.Uint64(w.stamp[:]))
		}
	}
}
