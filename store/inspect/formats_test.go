package inspect

import (
	"encoding/binary"
	"math"
	"testing"
)

func TestExtUnit(t *testing.T) {
	b := make([]byte, 34)
	b[1], b[9], b[17], b[19], b[20] = 34, 7, 9, 14, 0xA
	u, ok := ParseExtUnit(b)
	if !ok || u.TagsCode != 7 || u.StoreTimestamp != 9 || len(u.BitMap) != 14 || u.BitMap[0] != 0xA {
		t.Errorf("got %+v, %v", u, ok)
	}
	b[1]++
	if _, ok := ParseExtUnit(b); ok {
		t.Error("sizes that do not add up were taken")
	}
	e := Entry{TagsCode: math.MinInt64 + 4096}
	if at, ok := e.ExtAddress(); !ok || at != 4096 {
		t.Errorf("address %d, %v", at, ok)
	}
	if _, ok := (&Entry{TagsCode: math.MinInt32}).ExtAddress(); ok {
		t.Error("a hash was taken for an address")
	}
}

func TestEpochs(t *testing.T) {
	for text, want := range map[string]int{
		"2\n0\n1-0\n3-40960\n": 2, "0\n0\n": 0, "1\n0\n1-0": 1,
		"": -1, "x\n0\n": -1, "1\nx\n1-0\n": -1, "1\n0\n": -1, "1\n0\n1\n": -1, "2\n0\n3-0\n1-5\n": -1, "2\n0\n1-9\n2-5\n": -1, "1\n1\n1-0\n": -1, "1\n0\n1--5\n": -1,
	} {
		list, err := ParseEpochs(text)
		if (err == nil) != (want >= 0) || err == nil && len(list) != want {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	if i, err := ParseIdentity("c#b#3\n"); err != nil || *i != (Identity{"c", "b", 3, ""}) {
		t.Errorf("got %+v, %v", i, err)
	}
	if i, err := ParseIdentity("c#b#3#127.0.0.1:1;5"); err != nil || i.CheckCode != "127.0.0.1:1;5" {
		t.Errorf("got %+v, %v", i, err)
	}
	for _, text := range []string{"", "c#b", "c#b#x", "#b#1", "c##1", "a#b#1#2#3"} {
		if _, err := ParseIdentity(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// FuzzDecoders runs every decoder over anything; they may refuse, not fail.
func FuzzDecoders(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint32(make([]byte, 12), blankMagic))
	f.Add(append(binary.BigEndian.AppendUint32(nil, TimerUnitSize), make([]byte, 60)...))
	f.Add([]byte("1\n0\n1-0\n"))
	f.Add([]byte("cluster#broker#1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := ParseEntry(b); ok && (e.PhysicalOffset < 0 || e.Size <= 0) {
			t.Fatalf("%+v", e)
		}
		if e, ok := ParseBatchEntry(b); ok && (e.PhysicalOffset < 0 || e.Count <= 0 || e.QueueOffset < 0) {
			t.Fatalf("%+v", e)
		}
		if u, ok := ParseExtUnit(b); ok && len(u.BitMap) > u.Size {
			t.Fatalf("%+v", u)
		}
		if u, ok, end := ParseTimerUnit(b); ok && (end || u.Time() < 0 || u.Size <= 0 || u.Before < -1) {
			t.Fatalf("%+v", u)
		}
		_, _ = ParseIndexEntry(b)
		_, _ = ParseIndexHeader(b)
		_, _ = ParseCheckpoint(b)
		_, _ = ParseTimerSlot(b)
		_, _ = ParseTimerCheckpoint(b)
		_, _ = ParseIdentity(string(b))
		if list, err := ParseEpochs(string(b)); err == nil {
			for i := 1; i < len(list); i++ {
				if list[i].Epoch <= list[i-1].Epoch {
					t.Fatalf("%+v", list)
				}
			}
		}
	})
}
