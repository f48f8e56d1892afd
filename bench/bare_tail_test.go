package bench

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBareTailDeliversAll(t *testing.T) {
	res, err := BareTail(t.Context(), TailOptions{Dir: t.TempDir(), Rate: 2_000, Duration: 200 * time.Millisecond, Pause: 50 * time.Microsecond})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the bare tail is not checked here: it needs Linux, and is run wherever the tests run on that")
	}
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != 400 || res.Delivered != 400 || res.BrokerCPU <= 0 || res.Delivery.P50 <= 0 {
		t.Errorf("%d sent, %d delivered, %v us each, half within %v; want 400 of both and positive figures", res.Messages, res.Delivered, res.BrokerCPU, res.Delivery.P50)
	}
}

func TestBareTailRefuses(t *testing.T) {
	for _, o := range []TailOptions{{}, {Rate: 1}, {Rate: 1, Duration: 1, Pause: -1}, {Rate: 1e6, Duration: 1}} {
		if _, err := BareTail(t.Context(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// Whatever pieces bytes come in, each message is found once, with its time.
func TestWholeOfPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(8, 40).Draw(t, "size")
		want := rapid.SliceOf(rapid.Uint64()).Draw(t, "stamps")
		data := make([]byte, size*len(want))
		for i, v := range want {
			binary.BigEndian.PutUint64(data[i*size:], v)
		}
		var got []uint64
		for w := (whole{size: size}); len(data) > 0; {
			n := rapid.IntRange(1, len(data)).Draw(t, "piece")
			w.add(data[:n], func(stamp uint64) { got = append(got, stamp) })
			data = data[n:]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %v of %v", got, want)
		}
	})
}
