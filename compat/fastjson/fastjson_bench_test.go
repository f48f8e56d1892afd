package fastjson

import (
	"os"
	"testing"
)

func BenchmarkReadConfig(b *testing.B) {
	for _, name := range []string{"topics", "lmqConsumerOffset"} { // the first is standard JSON, the second has bare keys
		data, err := os.ReadFile("testdata/f2_" + name + ".json")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var v struct {
					OffsetTable map[string]map[int32]int64 `json:"offsetTable"`
				}
				if err := Unmarshal(data, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	s := sample{Zeta: "topic", Alpha: map[int32]int64{1: 2, 3: 4}, Names: []string{"a", "b"}}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &s)
	}
}
