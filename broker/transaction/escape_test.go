package transaction

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"apogee/store"
	"apogee/store/record"
)

// What a slave that acts for its master cannot decide goes to another broker, once, however young it is; what does not get there stays.
func TestUndecidedEscape(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	var gone []string
	var refuse error
	r.opts.Escape = func() func(*record.Message) error {
		return func(m *record.Message) error {
			if refuse == nil {
				gone = append(gone, record.Property(m.Properties, record.PropUniqKey))
			}
			return refuse
		}
	}
	one := r.half("U1")
	r.half("U2")
	r.commit(one.QueueOffset, one.PhysicalOffset)
	refuse = errors.New("nowhere")
	r.round(time.Second)
	if got := r.at(); len(gone) > 0 || got != "1 0" {
		t.Errorf("%v escaped, offsets %s", gone, got)
	}
	refuse = nil
	r.half("U3")
	r.round(time.Second)
	r.round(time.Second)
	if got := r.at(); fmt.Sprint(gone) != "[U2 U3]" || got != "3 0" || len(r.peer.asked) > 0 {
		t.Errorf("%v escaped, offsets %s, asked %d times", gone, got, len(r.peer.asked))
	}
}
