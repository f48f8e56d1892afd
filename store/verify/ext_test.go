package verify_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"

	"apogee/store/record"
	"apogee/store/verify"
)

// TestExtensions looks at entries whose tags code stands in an extension, as a Java broker with enableConsumeQueueExt writes them.
func TestExtensions(t *testing.T) {
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	log, queue, ext := make([]byte, 4096), make([]byte, 200), make([]byte, 4096)
	end, at := 0, 0
	for n := range 3 {
		m := record.Message{Topic: "T", QueueOffset: int64(n), PhysicalOffset: int64(end), BornHost: host, StoreHost: host, StoreTimestamp: 1700000000000}
		m.Properties = string(record.AppendProperty(nil, record.PropTags, fmt.Sprint("tag", n)))
		layout, err := m.Measure(false)
		if err != nil {
			t.Fatal(err)
		}
		record.Encode(log[end:], &m, layout)
		be := binary.BigEndian
		e := queue[20*n:]
		be.PutUint64(e, uint64(end))
		be.PutUint32(e[8:], uint32(layout.Total))
		address := int64(at) + math.MinInt64
		be.PutUint64(e[12:], uint64(address))
		u := ext[at:]
		be.PutUint16(u, 34)
		be.PutUint64(u[2:], uint64(int64(record.HashString(fmt.Sprint("tag", n)))))
		be.PutUint64(u[10:], 1700000000000)
		be.PutUint16(u[18:], 14)
		end, at = end+layout.Total, at+34
	}
	name := fmt.Sprintf("%020d", 0)
	files := fstest.MapFS{"commitlog/" + name: {Data: log}, "consumequeue/T/0/" + name: {Data: queue}, "consumequeue_ext/T/0/" + name: {Data: ext}, "checkpoint": {Data: make([]byte, 4096)}}
	look := func(want ...verify.Kind) {
		t.Helper()
		var got []verify.Kind
		_, err := verify.Run(context.Background(), verify.Options{Root: files, Report: func(f verify.Finding) { got = append(got, f.Kind) }})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("found %v, %v; want %v", got, err, want)
		}
	}
	look()
	ext[34+9] ^= 1
	look(verify.QueueEntry)
	ext[34+9] ^= 1
	ext[34+1]++
	look(verify.QueueExt)
	ext[34+1]--
	queue[20+17] = 0x40 // beyond the file
	look(verify.QueueExt)
	queue[20+17] = 0
	delete(files, "consumequeue_ext/T/0/"+name)
	look(verify.QueueExt, verify.QueueExt, verify.QueueExt)
}

// TestIndexBeyondEverything has an index entry with the greatest offset there is.
func TestIndexBeyondEverything(t *testing.T) {
	index := make([]byte, 40+4+40)
	index[39] = 2
	binary.BigEndian.PutUint64(index[40+4+20+4:], math.MaxInt64)
	index[43] = 1
	name := fmt.Sprintf("%020d", 0)
	files := fstest.MapFS{"commitlog/" + name: {Data: make([]byte, 4096)}, "checkpoint": {Data: make([]byte, 4096)}, "index/20260101000000000": {Data: index}}
	found := map[verify.Kind]bool{}
	_, err := verify.Run(context.Background(), verify.Options{Root: files, IndexSlots: 1, IndexEntries: 2, Report: func(f verify.Finding) { found[f.Kind] = true }})
	if err != nil || !found[verify.IndexDangling] {
		t.Errorf("found %v, %v", found, err)
	}
}
