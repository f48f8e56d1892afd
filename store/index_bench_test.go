package store

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkIndex is the building of the index for records with a unique key and tags, at the pace of the builder: groups collect
// for a moment. The tags are the same for all.
func BenchmarkIndex(b *testing.B) {
	const group = 1024
	o := Defaults()
	o.RootDir = b.TempDir()
	s, err := Open(o)
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	x := s.index
	x.pos.Store(0)
	rnd := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	countCPU(b)
	phys, n := int64(0), 0
	for b.Loop() {
		e := slip{phys: phys, time: 1_700_000_000_000, size: 1024}
		e.nkeys, e.keys = 2, [3]int32{int32(rnd.Uint32()), 12345}
		x.offer(&e)
		phys += 1024
		if n++; n%group == 0 {
			x.publish()
			s.dispatch.pos.Store(phys)
			for x.catchUp() {
			}
			if x.err != nil || x.behind() != 0 {
				b.Fatal(x.err)
			}
		}
	}
	s.dispatch.pos.Store(noMark)
}
