package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Bloom is the size of the bit maps that tell which groups want a message (BloomFilter). The maps themselves are not kept; the places of
// a group's bits stand in config/consumerFilter.json all the same, where Java expects them.
type Bloom struct {
	bits   int
	hashes int
}

// NewBloom sizes a filter for a rate of false hits, in percent, and a number of groups.
func NewBloom(percent, groups int) (Bloom, error) {
	if percent < 1 || percent >= 100 || groups < 1 || groups > 1<<20 {
		return Bloom{}, fmt.Errorf("bloom filter of %d groups with %d %% false hits: want 1..%d groups and 1..99 %%", groups, percent, 1<<20)
	}
	rate := float64(percent) / 100
	log := func(base, x float64) float64 { return math.Log(x) / math.Log(base) }
	hashes := int(math.Ceil(log(0.5, rate)))
	size := int(math.Ceil(float64(groups) * log(2, 1/rate) * log(2, math.E)))
	return Bloom{bits: (size + 7) / 8 * 8, hashes: hashes}, nil
}

// Bits is the length of a bit map.
func (b Bloom) Bits() int { return b.bits }

// Positions are the bits of a name.
func (b Bloom) Positions(name string) []int32 {
	h := murmur3([]byte(name))
	one, two := int32(h), int32(h>>32)
	out := make([]int32, b.hashes)
	for i := range out {
		c := one + int32(i+1)*two
		if c < 0 {
			c = ^c
		}
		out[i] = c % int32(b.bits)
	}
	return out
}

// Fits tells whether positions were made by a filter of this size.
func (b Bloom) Fits(size int32, positions []int32) bool {
	return int(size) == b.bits && len(positions) == b.hashes
}

// murmur3 is the first half of MurmurHash3 x64 128 with seed 0.
func murmur3(data []byte) uint64 {
	const c1, c2 = 0x87c37b91114253d5, 0x4cf5ad432745937f
	var h1, h2 uint64
	mix1 := func(k uint64) uint64 { return bits.RotateLeft64(k*c1, 31) * c2 }
	mix2 := func(k uint64) uint64 { return bits.RotateLeft64(k*c2, 33) * c1 }
	rest := data
	for ; len(rest) >= 16; rest = rest[16:] {
		h1 ^= mix1(binary.LittleEndian.Uint64(rest))
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= mix2(binary.LittleEndian.Uint64(rest[8:]))
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	}
	var tail [16]byte
	copy(tail[:], rest)
	h2 ^= mix2(binary.LittleEndian.Uint64(tail[8:]))
	h1 ^= mix1(binary.LittleEndian.Uint64(tail[:]))
	n := uint64(len(data))
	h1, h2 = h1^n, h2^n
	h1 += h2
	h2 += h1
	return final(h1) + final(h2)
}

func final(k uint64) uint64 {
	k ^= k >> 33
	k *= 0xff51afd7ed558ccd
	k ^= k >> 33
	k *= 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
