package record

import (
	"net/netip"
	"strings"
	"testing"
)

func sample() Message {
	m := Message{
		Topic: "BenchTopic", BornHost: netip.MustParseAddrPort("10.0.0.1:4000"), StoreHost: netip.MustParseAddrPort("10.0.0.2:10911"),
		Body:       make([]byte, 1024),
		Properties: "UNIQ_KEY\x017F0000012BFE4E0E2F2A6FB7007F006C\x02WAIT\x01true\x02CLUSTER\x01DefaultCluster\x02TAGS\x01TagA\x02KEYS\x01k1 k2\x02",
	}
	m.BodyCRC = BodyCRC(m.Body)
	return m
}

func TestNothingAllocates(t *testing.T) {
	m := sample()
	dst := make([]byte, 2048)
	id := make([]byte, 0, MaxMessageID)
	var h Header
	var back Message
	var sink int64
	n := testing.AllocsPerRun(100, func() {
		l, err := m.Measure(true)
		if err != nil {
			t.Fatal(err)
		}
		Encode(dst, &m, l)
		Patch(dst, 1, 2, 3)
		SealCRC(dst[:l.Total])
		if Parse(dst, &h) != nil || Decode(dst, &back) != nil {
			t.Fatal("does not decode")
		}
		var tags, keys []byte
		for c := Pairs(h.Properties); c.Next(); {
			switch string(c.Name) {
			case PropTags:
				tags = c.Value
			case PropKeys:
				keys = c.Value
			}
		}
		sink += TagsCode(view(h.Topic), view(tags), "", 1, nil) + int64(len(keys)) + int64(len(Property(m.Properties, PropWait)))
		sink += int64(len(DeleteProperty(m.Properties, "ABSENT"))) + int64(len(AppendMessageID(id, m.StoreHost, 5)))
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	m := sample()
	dst := make([]byte, 2048)
	b.ReportAllocs()
	for b.Loop() {
		l, _ := m.Measure(false)
		Encode(dst, &m, l)
	}
}

func BenchmarkParse(b *testing.B) {
	m := sample()
	l, _ := m.Measure(false)
	dst := make([]byte, l.Total)
	Encode(dst, &m, l)
	var h Header
	b.ReportAllocs()
	for b.Loop() {
		if Parse(dst, &h) != nil {
			b.Fatal()
		}
	}
}

func BenchmarkPairs(b *testing.B) {
	props := []byte(sample().Properties)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for c := Pairs(props); c.Next(); {
			n++
		}
	}
}

func BenchmarkProperty(b *testing.B) {
	props := sample().Properties + strings.Repeat("x\x01y\x02", 10)
	b.ReportAllocs()
	for b.Loop() {
		_ = Property(props, PropKeys)
	}
}
