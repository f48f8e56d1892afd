package bench

import (
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

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
