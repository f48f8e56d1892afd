package prefetch

import (
	"testing"
	"unsafe"
)

// Nothing can be seen of a prefetch but that it harms nobody, even where there is no memory.
func TestAnyAddress(t *testing.T) {
	Line((*int)(nil))
	Lines((*int)(nil))
	b := make([]byte, 1)
	b[0] = 7
	Line(&b[0])
	Lines((*[4]uint64)(unsafe.Pointer(&b[0])))
	if b[0] != 7 {
		t.Errorf("memory changed to %d", b[0])
	}
	if n := testing.AllocsPerRun(100, func() { var x [3]int; Line(&x); Lines(&x) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What it is for: one line of each of many entries, all over memory, read in an order that nobody can guess.
func BenchmarkScattered(b *testing.B) {
	type entry struct{ words [8]uint64 }
	const n, ahead = 1 << 20, 8
	all := make([]entry, n)
	for i := range all {
		all[i].words[0] = uint64(i) // memory that was never written is one page of zeros
	}
	never := len(all) >> 30 // 0, but the compiler does not know
	at := func(i int) *entry { return &all[uint64(i)*0x9E3779B97F4A7C15>>44] }
	for _, c := range []struct {
		name  string
		ahead int
	}{{"plain", 0}, {"ahead", ahead}} {
		b.Run(c.name, func(b *testing.B) {
			next := uint64(1)
			for i := 0; b.Loop(); i++ {
				if c.ahead > 0 {
					Line(at(i + c.ahead))
				}
				e := at(i + int(next&1)*never) // after all that was done with the one before
				next = next*31 + e.words[next&7]
			}
		})
	}
}
