package delay

import (
	"slices"
	"testing"

	"apogee/store/record"
)

func TestParseLevels(t *testing.T) {
	got, err := ParseLevels("1s 5s  3m 2h 1d 0s")
	if want := (Levels{1000, 5000, 180_000, 7_200_000, 86_400_000, 0}); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"1", "s", "1x", "1s 5", "-1s", "1.5s", "99999999999999999d", "1s,2s"} {
		if l, err := ParseLevels(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, l)
		}
	}
}

func TestLevelOf(t *testing.T) {
	for property, want := range map[string]struct {
		level   int
		clipped bool
		err     bool
	}{
		"": {}, "0": {}, "-1": {}, "1": {level: 1}, "3": {level: 3}, "4": {level: 3, clipped: true}, "2147483647": {level: 3, clipped: true},
		"abc": {err: true}, "99999999999": {err: true}, "1 ": {err: true},
	} {
		level, clipped, err := testLevels.Of(property)
		if level != want.level || clipped != want.clipped || (err != nil) != want.err {
			t.Errorf("%q: %d %t %v, want %+v", property, level, clipped, err, want)
		}
	}
}

// TestSchedule compares with what a Java 5.5.0 broker stored for the same sends (order of pairs aside).
func TestSchedule(t *testing.T) {
	cases := map[string]struct {
		props   string
		level   int
		clipped bool
		want    string
	}{
		"plain":           {"UNIQ_KEY\x01u\x02DELAY\x011\x02", 1, false, "UNIQ_KEY\x01u\x02DELAY\x011\x02REAL_TOPIC\x01tA\x02REAL_QID\x017\x02"},
		"clipped":         {"DELAY\x0199\x02A\x01b\x02", 18, true, "DELAY\x0118\x02A\x01b\x02REAL_TOPIC\x01tA\x02REAL_QID\x017\x02"},
		"no closing mark": {"DELAY\x012", 2, false, "DELAY\x012\x02REAL_TOPIC\x01tA\x02REAL_QID\x017\x02"},
		"client sets real topic": {
			"REAL_TOPIC\x01zz\x02REAL_QID\x013\x02DELAY\x0118\x02", 18, false, "DELAY\x0118\x02REAL_TOPIC\x01tA\x02REAL_QID\x017\x02",
		},
		"client sets real topic, clipped": {
			"REAL_TOPIC\x01zz\x02REAL_QID\x013\x02DELAY\x0119\x02", 18, true, "DELAY\x0118\x02REAL_TOPIC\x01tA\x02REAL_QID\x017\x02",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := record.Message{Topic: "tA", QueueID: 7, Properties: c.props}
			Schedule(&m, c.level, c.clipped, make([]byte, 0, 8))
			if m.Topic != record.ScheduleTopic || m.QueueID != int32(c.level-1) || m.Properties != c.want {
				t.Errorf("got %s/%d %q\nwant %q", m.Topic, m.QueueID, m.Properties, c.want)
			}
		})
	}
}

func TestScheduleAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 256)
	n := testing.AllocsPerRun(100, func() {
		m := record.Message{Topic: "tA", QueueID: 7, Properties: "UNIQ_KEY\x01u\x02DELAY\x011\x02"}
		buf = Schedule(&m, 1, false, buf)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
