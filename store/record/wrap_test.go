package record

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What is wrapped is a record of a transaction that was rolled back, at its place, with a checksum that is right, and most of its bytes are as
// they were.
func TestWrap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{MinSize, MinSize + 1, MinSize + len(WrapTopic) - 1, MinSize + len(WrapTopic), 5000} {
		was := make([]byte, n)
		for i := range was {
			was[i] = byte(rnd.Uint32())
		}
		b := bytes.Clone(was)
		body, end, err := Wrap(b, 1<<33, 1700000000000)
		if err != nil {
			t.Fatal(err)
		}
		var h Header
		if err := Parse(b, &h); err != nil || h.CheckBody() != nil || !h.Wrapped() || h.Size != n || h.PhysicalOffset != 1<<33 || h.StoreTimestamp != 1700000000000 {
			t.Errorf("%d bytes: %+v, %v", n, h, err)
		}
		if !bytes.Equal(b[body:end], was[body:end]) || end-body < n-MinSize-len(WrapTopic) {
			t.Errorf("%d bytes: only %d to %d stay", n, body, end)
		}
	}
}
