package stats

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func newStats() *Stats {
	return New(func(topic string) bool { return strings.HasPrefix(topic, "rmq_sys_") })
}

var start = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestWindows(t *testing.T) {
	s := newStats()
	at := start
	s.Sample(at)
	if _, ok := s.View("TOPIC_PUT_NUMS", "T"); ok {
		t.Error("a statistic of nothing")
	}
	run := func(d time.Duration) { // 5 messages of 100 bytes each ten seconds
		for end := at.Add(d); at.Before(end); {
			at = at.Add(SamplePeriod)
			s.Put("T", 5, 500)
			s.Sample(at)
		}
	}
	run(5 * time.Minute)
	v, ok := s.View("TOPIC_PUT_NUMS", "T")
	if !ok || v.Minute != (Sum{Sum: 30, Times: 6, TPS: 0.5, Average: 5}) || v.Hour != (Sum{}) || v.Day != (Sum{}) {
		t.Errorf("after five minutes %+v", v)
	}
	run(5 * time.Minute)
	v, _ = s.View("TOPIC_PUT_NUMS", "T")
	if v.Hour.Sum != 300 || v.Hour.TPS != 0.5 || v.Day != (Sum{}) {
		t.Errorf("after ten minutes %+v", v)
	}
	run(50 * time.Minute)
	v, _ = s.View("TOPIC_PUT_NUMS", "T")
	if v.Hour.Sum != 1800 || v.Day.Sum != 1800 || v.Day.TPS != 0.5 {
		t.Errorf("after an hour %+v", v)
	}
	run(47 * time.Hour)
	v, _ = s.View("TOPIC_PUT_SIZE", "T")
	if v.Minute.Sum != 3000 || v.Hour.Sum != 500*6*60 || v.Day.Sum != 24*500*6*60 || v.Day.Average != 500 {
		t.Errorf("after two days %+v", v)
	}
	if tps := s.PutTPS("T"); tps != 0.5 {
		t.Errorf("tps %v", tps)
	}
}

func TestWindowsGoOnWhenTheClockIsPutBack(t *testing.T) {
	s := newStats()
	for n, at := range []time.Time{start, start.Add(-time.Hour)} {
		for range 7 {
			s.Put("T", int64(5+5*n), 500)
			s.Sample(at)
			at = at.Add(SamplePeriod)
		}
	}
	if v, _ := s.View("TOPIC_PUT_NUMS", "T"); v.Minute != (Sum{Sum: 60, Times: 6, TPS: 1, Average: 10}) {
		t.Errorf("%+v", v.Minute)
	}
}

func TestNamesOfStatistics(t *testing.T) {
	s := newStats()
	s.Topic("T").Add(2, 3, 30)
	s.Put("rmq_sys_X", 2, 20)
	s.Got("T", "G", 4, 40)
	s.Got("rmq_sys_X", "G", 1, 10)
	s.SentBack("T", "G")
	s.DeadLettered("T", "G")
	s.Sample(start)
	for _, c := range []struct {
		name, of string
		sum      int64 // -1: not there
	}{
		{"TOPIC_PUT_NUMS", "T", 3},
		{"TOPIC_PUT_SIZE", "T", 30},
		{"GROUP_GET_NUMS", "T@G", 4},
		{"GROUP_GET_SIZE", "T@G", 40},
		{"SNDBCK_PUT_NUMS", "T@G", 1},
		{"DLQ_PUT_NUMS", "T@G", 1},
		{"BROKER_PUT_NUMS", "DefaultCluster", 5},
		{"BROKER_GET_NUMS", "DefaultCluster", 5},
		{"BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster", 3},
		{"BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster", 4},
		{"TOPIC_PUT_NUMS", "Other", -1},
		{"GROUP_GET_NUMS", "T", -1},
		{"GROUP_GET_NUMS", "T@Other", -1},
		{"SNDBCK_PUT_NUMS", "rmq_sys_X@G", -1},
		{"NOTHING", "T@G", -1},
	} {
		v, ok := s.View(c.name, c.of)
		if ok != (c.sum >= 0) || (ok && v.Minute.Sum != c.sum) {
			t.Errorf("%s %s: %+v %v, want %d", c.name, c.of, v.Minute, ok, c.sum)
		}
	}
	if tps := s.GetTPS("T", "G"); tps != 0.4 {
		t.Errorf("tps %v", tps)
	}
	s.DeleteGroup("G")
	s.DeleteTopic("T")
	if d := s.Days(); d.PutNow != 5 || d.GetNow != 5 {
		t.Errorf("the totals are without what was counted for what is deleted: %+v", d)
	}
	if v, ok := s.View("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster"); !ok || v.Minute.Sum != 3 {
		t.Errorf("after the deletion %+v", v)
	}
	if s.GetTPS("T", "G") != 0 || s.PutTPS("T") != 0 || s.PutTPS("rmq_sys_X") == 0 {
		t.Error("deletion")
	}
}

func TestDaysRollAtMidnight(t *testing.T) {
	s := newStats()
	at := time.Date(2026, 1, 2, 23, 59, 50, 0, time.Local)
	s.Put("T", 7, 70)
	s.Got("T", "G", 2, 20)
	s.Sample(at)
	if d := s.Days(); d != (Days{PutNow: 7, GetNow: 2}) {
		t.Errorf("before midnight %+v", d)
	}
	s.Sample(at.Add(20 * time.Second))
	s.Put("T", 1, 10)
	s.Sample(at.Add(24 * time.Hour))
	s.Put("T", 2, 10)
	s.Sample(at.Add(24*time.Hour + 20*time.Second))
	want := Days{PutYesterdayMorning: 7, PutTodayMorning: 10, PutNow: 10, GetYesterdayMorning: 2, GetTodayMorning: 2, GetNow: 2}
	if d := s.Days(); d != want {
		t.Errorf("a day later %+v, want %+v", d, want)
	}
}

func TestRates(t *testing.T) {
	var r Rates
	if v := r.View(); v != (RateView{}) {
		t.Errorf("rates of nothing %+v", v)
	}
	for i := range int64(1300) {
		r.Sample(start.Add(time.Duration(i)*time.Second), Totals{Put: 10 * i, Found: 3 * i, Miss: i, Transferred: 5 * i})
	}
	v := r.View()
	want := [3]float64{10, 10, 10}
	if v.Put != want || v.Total != [3]float64{4, 4, 4} || v.Transferred != [3]float64{5, 5, 5} {
		t.Errorf("rates %+v", v)
	}
	r.Sample(start.Add(1300*time.Second), Totals{Put: 13000 + 600, Found: 3900, Miss: 1300, Transferred: 6500})
	if v := r.View(); v.Put != [3]float64{70, 20, 11} {
		t.Errorf("after a burst %v", v.Put)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := newStats()
	frame := []byte("TopicGroup")
	if n := testing.AllocsPerRun(100, func() {
		s.Put(string(frame[:5]), 1, 100)
		s.Got(string(frame[:5]), string(frame[5:]), 1, 100)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPut(b *testing.B) {
	s := newStats()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Put("Topic", 1, 100)
		}
	})
}

// What each message costs where there are many topics.
func BenchmarkPutAmong10000(b *testing.B) {
	s := newStats()
	topics := make([]string, 10_000)
	for i := range topics {
		topics[i] = fmt.Sprintf("BenchTopic_%05d", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			s.Put(topics[i%len(topics)], 1, 100)
		}
	})
}

func BenchmarkGot(b *testing.B) {
	s := newStats()
	b.ReportAllocs()
	for b.Loop() {
		s.Got("Topic", "Group", 1, 100)
	}
}

func TestPops(t *testing.T) {
	s := newStats()
	s.Sample(start)
	for _, name := range []string{"BROKER_CK_NUMS", "BROKER_ACK_NUMS"} {
		if _, ok := s.View(name, "c"); ok {
			t.Errorf("%s of nothing", name)
		}
	}
	s.Checked("T", "G")
	s.Checked("T", "H")
	s.Acked("T", "G", 3)
	s.Sample(start.Add(SamplePeriod))
	check := func(when string, want map[string]int64) {
		t.Helper()
		for what, n := range want {
			name, of, _ := strings.Cut(what, " ")
			if v, ok := s.View(name, of); ok != (n >= 0) || ok && v.Minute.Sum != n {
				t.Errorf("%s: %s is %+v %t, want %d", when, what, v.Minute, ok, n)
			}
		}
	}
	check("counted", map[string]int64{
		"GROUP_CK_NUMS T@G": 1, "GROUP_CK_NUMS T@H": 1, "GROUP_ACK_NUMS T@G": 3, "GROUP_ACK_NUMS T@H": -1, "GROUP_ACK_NUMS": -1,
		"BROKER_CK_NUMS c": 2, "BROKER_ACK_NUMS c": 3,
	})
	s.DeleteGroup("G")
	check("deleted", map[string]int64{"GROUP_CK_NUMS T@G": -1, "GROUP_CK_NUMS T@H": 1, "BROKER_CK_NUMS c": 2, "BROKER_ACK_NUMS c": 3})
}
