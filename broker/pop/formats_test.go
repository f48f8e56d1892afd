package pop

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"apogee/compat/fastjson"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		topic, group, normal string
		kind                 Kind
	}{
		{"tA", "gA", "tA", KindNormal},
		{RetryTopicV1("tA", "gA"), "gA", "tA", KindRetryV1},
		{RetryTopicV2("tA", "gA"), "gA", "tA", KindRetryV2},
		{RetryTopicV1("t_A", "g_A"), "g_A", "t_A", KindRetryV1},
		{"%RETRY%gB", "gA", "", KindRetryV1},
		{"%RETRY%gA", "gA", "", KindRetryV1},
		{"%RETRY%gA-tA", "gA", "", KindRetryV1},
	} {
		if got := NormalTopic(c.topic, c.group); got != c.normal {
			t.Errorf("NormalTopic(%s, %s) = %q, want %q", c.topic, c.group, got, c.normal)
		}
		if got := KindOf(c.topic); got != c.kind {
			t.Errorf("KindOf(%s) = %c", c.topic, got)
		}
		if real, ok := RealTopic(c.normal, c.group, c.kind); c.normal != "" && (!ok || real != c.topic) {
			t.Errorf("RealTopic of %s = %q", c.topic, real)
		}
	}
	if topic, group, ok := SplitRetryV2("%RETRY%gA+tA"); !ok || topic != "tA" || group != "gA" {
		t.Error(topic, group, ok)
	}
	for _, s := range []string{"tA", "%RETRY%gA_tA", "%RETRY%gA+", "%RETRY%a+b+c"} {
		if _, _, ok := SplitRetryV2(s); ok {
			t.Error(s)
		}
	}
	if ReviveTopic("c") != "rmq_sys_REVIVE_LOG_c" {
		t.Error(ReviveTopic("c"))
	}
}

func TestReceipt(t *testing.T) {
	const text = "100 1700000000000 60000 3 0 b-0 3 101"
	r, err := ParseReceipt(text)
	want := Receipt{StartOffset: 100, PopTime: 1700000000000, Invisible: 60000, ReviveQueue: 3, Kind: KindNormal, Broker: "b-0", Queue: 3, Offset: 101}
	if err != nil || r != want || string(r.Append(nil)) != text || r.Order() || r.ReviveTime() != 1700000060000 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := ParseReceipt("100 17 60 999 2 b 3"); err != nil || r.Offset != -1 || !r.Order() {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "1", "1 2 3 4 0", "x 2 3 4 0 b", "1 2 3 4 9 b", "1 2 3 99999999999 0 b", "1 2 3 4 0 b x", strings.Repeat("1", 5000)} {
		if _, err := ParseReceipt(bad); !errors.Is(err, ErrReceipt) || len(err.Error()) > 400 {
			t.Errorf("%.50q: %v", bad, err)
		}
	}
}

func TestInfos(t *testing.T) {
	var start, offs, counts []byte
	start = AppendStartOffset(start, KindNormal, 3, 100)
	start = AppendStartOffset(start, KindRetryV1, 0, 7)
	offs = AppendOffsets(offs, KindNormal, 3, []int64{100, 101, 103})
	offs = AppendOffsets(offs, KindRetryV1, 0, []int64{7})
	counts = AppendQueueCount(counts, KindNormal, 3, 1)
	counts = AppendOffsetCount(counts, KindNormal, 3, 101, 2)
	if string(start) != "0 3 100;1 0 7" || string(offs) != "0 3 100,101,103;1 0 7" || string(counts) != "0 3 1;0 qo3%101 2" {
		t.Errorf("%s\n%s\n%s", start, offs, counts)
	}
}

// The bodies are those that a Java 5.5.0 broker wrote.
func TestBodies(t *testing.T) {
	const ck = `{"bm":0,"bn":"b1","c":"gA","d":[0,1,2],"it":60000,"n":3,"pt":1700000000000,"q":0,"reviveTime":1700000060000,"ro":-1,"so":100,"sp":false,"t":"tA"}`
	c, err := ParseCheckPoint([]byte(ck))
	if err != nil {
		t.Fatal(err)
	}
	c.ReviveOffset = -1
	if got := string(c.Append(nil)); got != ck {
		t.Errorf("\n%s\n%s", got, ck)
	}
	if got := string(c.AppendUnique(nil)); got != "tA@0@100@gA@1700000000000@b1@ck" {
		t.Error(got)
	}
	c.RePuts = 2
	if again, err := ParseCheckPoint(c.Append(nil)); err != nil || again.RePuts != 2 {
		t.Errorf("%+v %v", again, err)
	}
	for _, text := range []string{
		`{"ao":101,"bn":"b1","c":"gA","pt":1700000000000,"q":0,"so":100,"t":"tA"}`,
		`{"ao":-1,"aol":[101,102],"bn":"b1","c":"gA","pt":1700000000000,"q":0,"so":100,"t":"tA"}`,
		`{"ao":0,"aol":[101],"c":"gA","pt":1700000000000,"q":0,"so":100,"t":"tA"}`,
	} {
		a, err := ParseAck([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(a.Append(nil)); got != text {
			t.Errorf("\n%s\n%s", got, text)
		}
	}
	a := Ack{Topic: "tA", Group: "gA", Offset: 101, PopTime: 17, Broker: "b1"}
	if got := string(a.AppendUnique(nil)); got != "tA@0@101@gA@17@b1@ack" {
		t.Error(got)
	}
	if (&Ack{Offsets: []int64{1}}).Tag() != TagBatchAck || a.Tag() != TagAck {
		t.Error("tags")
	}
}

func TestUnusableBodies(t *testing.T) {
	for _, s := range []string{``, `[]`, `3-17`, `{"c":"g"}`, `{"c":"g","t":"t","n":33}`, `{"c":"g","t":"t","n":-1}`, `{"c":"g","t":"t","n":2,"d":[1]}`, `{"c":"g","t":"t","so":-1}`} {
		if _, err := ParseCheckPoint([]byte(s)); !errors.Is(err, ErrCheckPoint) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := ParseAck([]byte(`{"c":"g"}`)); !errors.Is(err, ErrCheckPoint) {
		t.Error(err)
	}
	if c, err := ParseCheckPoint([]byte(`{"c":"g","t":"t","rp":"x"}`)); err != nil || c.RePuts != 127 {
		t.Error(c, err)
	}
}

func TestIndexes(t *testing.T) {
	old := CheckPoint{StartOffset: 10, Num: 3}
	holes := CheckPoint{StartOffset: 10, Num: 3, Diffs: []int32{0, 4, 9}}
	for i, want := range []int64{10, 11, 12} {
		if old.Offset(i) != want || old.Index(want) != i {
			t.Error(i)
		}
	}
	for i, want := range []int64{10, 14, 19} {
		if holes.Offset(i) != want || holes.Index(want) != i {
			t.Error(i)
		}
	}
	for _, off := range []int64{9, 13, 1 << 40} {
		if old.Index(off) != -1 || holes.Index(off) != -1 {
			t.Error(off)
		}
	}
	if (&CheckPoint{Num: 32}).All() != ^uint32(0) || old.All() != 7 {
		t.Error("bits")
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add("100 1700000000000 60000 3 0 b-0 3 101")
	f.Add("1 2 3 999 1 b")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseReceipt(text)
		if err != nil {
			return
		}
		again, err := ParseReceipt(string(r.Append(nil)))
		if err != nil || again != r {
			t.Errorf("%+v, then %+v, %v", r, again, err)
		}
	})
}

func FuzzCheckPoint(f *testing.F) {
	f.Add([]byte(`{"bm":1,"bn":"b1","c":"gA","d":[0,1,2],"it":60000,"n":3,"pt":17,"q":0,"ro":-1,"so":100,"t":"tA","rp":"3"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCheckPoint(text)
		if err != nil {
			return
		}
		for i := range int(c.Num) {
			if off := c.Offset(i); off >= c.StartOffset && c.Index(off) < 0 {
				t.Errorf("message %d at %d is not found", i, off)
			}
		}
		again, err := ParseCheckPoint(c.Append(nil))
		if err != nil || utf8.ValidString(c.Topic) && again.Topic != c.Topic || !slices.Equal(again.Diffs, c.Diffs) || again.Bits != c.Bits {
			t.Errorf("%+v, then %+v, %v", c, again, err)
		}
	})
}

func FuzzAck(f *testing.F) {
	f.Add([]byte(`{"ao":-1,"aol":[101,102],"bn":"b1","c":"gA","pt":17,"q":0,"so":100,"t":"tA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseAck(text)
		if err != nil {
			return
		}
		again, err := ParseAck(a.Append(nil))
		if err != nil || utf8.ValidString(a.Topic) && again.Topic != a.Topic || !slices.Equal(again.Offsets, a.Offsets) {
			t.Errorf("%+v, then %+v, %v", a, again, err)
		}
	})
}

// TestBodiesAreThoseOfFastjson compares what is written by hand with what the codec of Java's dialect writes.
func TestBodiesAreThoseOfFastjson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9%_+-]{0,8}`), rapid.String())
		c := CheckPoint{
			Bits: rapid.Uint32().Draw(t, "bits"), Broker: name.Draw(t, "broker"), Group: name.Draw(t, "group"), Diffs: rapid.SliceOf(rapid.Int32()).Draw(t, "diffs"),
			Invisible: rapid.Int64().Draw(t, "invisible"), Num: rapid.Int32().Draw(t, "num"), PopTime: rapid.Int64().Draw(t, "pop time"),
			Queue: rapid.Int32().Draw(t, "queue"), RePuts: rapid.Int32Range(0, 3).Draw(t, "re-puts"), Topic: name.Draw(t, "topic"),
			StartOffset: rapid.Int64().Draw(t, "start"), Suspend: rapid.Bool().Draw(t, "suspend"), ReviveOffset: rapid.Int64().Draw(t, "revive"),
		}
		j := checkPointJSON{
			Bits: int32(c.Bits), Broker: &c.Broker, Group: &c.Group, Diffs: c.Diffs, Invisible: c.Invisible, Num: c.Num, PopTime: c.PopTime,
			Queue: c.Queue, ReviveTime: c.ReviveTime(), Revive: c.ReviveOffset, Start: c.StartOffset, Suspend: c.Suspend, Topic: &c.Topic,
		}
		if c.RePuts > 0 {
			s := strconv.Itoa(int(c.RePuts))
			j.RePuts = &s
		}
		if got, want := string(c.Append(nil)), string(fastjson.Marshal(&j)); got != want {
			t.Fatalf("check point\n%s, want\n%s", got, want)
		}
		a := Ack{
			Offset: c.StartOffset, Broker: c.Broker, Group: c.Group, PopTime: c.PopTime, Queue: c.Queue, StartOffset: c.ReviveOffset, Topic: c.Topic,
		}
		if c.Suspend {
			a.Offsets = rapid.SliceOf(rapid.Int64()).Draw(t, "offsets")
		}
		k := ackJSON{Offset: a.Offset, Offsets: a.Offsets, Group: &a.Group, PopTime: a.PopTime, Queue: a.Queue, Start: a.StartOffset, Topic: &a.Topic}
		if a.Broker != "" {
			k.Broker = &a.Broker
		}
		if got, want := string(a.Append(nil)), string(fastjson.Marshal(&k)); got != want {
			t.Fatalf("ack\n%s, want\n%s", got, want)
		}
	})
}
