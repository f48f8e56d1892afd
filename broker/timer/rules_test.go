package timer

import (
	"encoding/base64"
	"testing"
)

func TestPrecision(t *testing.T) {
	for ms, want := range map[int64]int64{-1: 100, 0: 100, 100: 100, 199: 100, 200: 200, 499: 200, 500: 500, 999: 500, 1000: 1000, 5000: 1000} {
		if got := Precision(ms); got != want {
			t.Errorf("precision %d is %d, want %d", ms, got, want)
		}
	}
}

func TestOut(t *testing.T) {
	const now = 1_700_000_000_500
	for _, c := range []struct {
		ask  Ask
		out  int64
		want Verdict
	}{
		{Ask{DelaySec: "3"}, 1_700_000_003_000, Timed},
		{Ask{DelaySec: "3", DelayMs: "1", Deliver: "1"}, 1_700_000_003_000, Timed},
		{Ask{DelayMs: "3000", Deliver: "1"}, 1_700_000_003_000, Timed},
		{Ask{Deliver: "1700000004000"}, 1_700_000_003_000, Timed},
		{Ask{Deliver: "1700000004001"}, 1_700_000_004_000, Timed},
		{Ask{Deliver: "1700000000501"}, 1_700_000_000_000, Timed},
		{Ask{Deliver: "1700000000500"}, 0, AtOnce},
		{Ask{Deliver: "-5"}, 0, AtOnce},
		{Ask{DelaySec: "-5"}, 0, AtOnce},
		{Ask{DelaySec: "-9223372036854775808"}, 0, Illegal},
		{Ask{DelaySec: "9223372036854775807"}, 0, Illegal},
		{Ask{DelayMs: "9223372036854775807"}, 0, Illegal},
		{Ask{Deliver: "1700000000500", Cancels: true}, 0, Illegal},
		{Ask{DelaySec: "259200"}, now + 259200000 - 500, Timed},
		{Ask{DelaySec: "259201"}, 0, Illegal},
		{Ask{DelaySec: "1.5"}, 0, Illegal},
		{Ask{DelayMs: "soon"}, 0, Illegal},
	} {
		if out, v := rules.Out(&c.ask, now); v != c.want || v == Timed && out != c.out {
			t.Errorf("%+v: %d %d, want %d %d", c.ask, out, v, c.out, c.want)
		}
	}
}

func TestSchedule(t *testing.T) {
	m := message("b", "REAL_TOPIC\x01x\x02p\x01q")
	m.Properties = "REAL_TOPIC\x01x\x02p\x01q"
	buf := Schedule(m, 5000, nil)
	if want := "p\x01q\x02TIMER_OUT_MS\x015000\x02REAL_TOPIC\x01A\x02REAL_QID\x013\x02"; m.Properties != want || m.Topic != Topic || m.QueueID != 0 || string(buf) != want {
		t.Errorf("%s/%d %q", m.Topic, m.QueueID, m.Properties)
	}
}

func TestHandle(t *testing.T) {
	h := string(AppendHandle(nil, "T", "broker-a", 1700000000001, "KEY"))
	if want := base64.URLEncoding.EncodeToString([]byte("v1 T broker-a 1700000000001 KEY")); h != want {
		t.Errorf("handle %s, want %s", h, want)
	}
	if got, err := ParseHandle(h); err != nil || got != (Handle{"T", "broker-a", "1700000000001", "KEY"}) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"", "?", "=", base64.URLEncoding.EncodeToString([]byte("v1 a b c")), base64.URLEncoding.EncodeToString([]byte("v0 a b c d"))} {
		if _, err := ParseHandle(bad); err == nil {
			t.Errorf("%q is a handle", bad)
		}
	}
}

func FuzzHandle(f *testing.F) {
	f.Add(string(AppendHandle(nil, "T", "b", 1, "K")))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHandle(text)
		if err == nil && h.UniqKey == "" && h.Topic == "" && len(text) < 8 {
			t.Errorf("%q is a handle", text)
		}
	})
}

func TestFull(t *testing.T) {
	v := &Service{}
	v.wheel.precision = 1000
	for num, want := range map[int32]string{0: "no", 10: "no", 11: "some", 20: "yes", 100: "yes"} {
		v.wheel.put(5000, slot{num: num})
		n := 0
		for range 2000 {
			if v.Full(5000, 10) {
				n++
			}
		}
		if got := map[bool]string{n == 0: "no", n > 0 && n < 2000: "some", n == 2000: "yes"}[true]; got != want {
			t.Errorf("with %d messages %d of 2000 are refused, want %s", num, n, want)
		}
	}
	if v.Full(5000, 1<<31-1) || v.Full(6000, 10) {
		t.Error("an empty slot, or one without a limit, is full")
	}
}
