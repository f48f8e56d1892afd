package takeover

import "testing"

// What the reference may do with a timer that was recalled is no fault of Apogee; what Apogee delivers is, unless the reference had it in hand.
func TestRecalledInVain(t *testing.T) {
	r := &run{starts: []start{{began: 0, at: 1000, impl: "java"}, {began: 10_000, at: 11_000, impl: "apogee"}, {began: 20_000, at: 150_000, impl: "java"}, {began: 200_000, at: 201_000, impl: "apogee"}}}
	for _, c := range []struct {
		what          string
		sent, due, at int64
		late, want    bool
	}{
		{"overdue at a start that takes long", 15_000, 25_000, 140_000, false, true},
		{"due after that start", 15_000, 990_000, 190_000, false, false},
		{"entered too late", 15_000, 990_000, 190_000, true, true},
		{"by itself", 5000, 9000, 9500, false, true},
		{"by Apogee, sent to it", 12_000, 16_000, 17_000, false, false},
		{"by Apogee, late or not", 12_000, 16_000, 17_000, true, false},
		{"by Apogee, due while the reference ran", 5000, 9000, 12_000, false, true},
		{"by Apogee, due later", 5000, 15_000, 16_000, false, false},
		{"by Apogee, sent to it, due while the reference ran", 15_000, 25_000, 202_000, false, true},
		{"by Apogee, sent to it, due later", 15_000, 205_000, 206_000, false, false},
	} {
		if got := r.recalledInVain(&message{sent: c.sent, due: c.due}, c.at, c.late); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

// A timer may come twice if the reference has taken over from a broker that was killed after it was sent, however long that took.
func TestEnteredTwice(t *testing.T) {
	r := &run{
		starts: []start{{began: 0, impl: "java"}, {began: 10_000, impl: "apogee"}, {began: 20_000, impl: "java"}, {began: 30_000, impl: "apogee"}},
		kills:  []int64{9000, 19_000},
	}
	for _, c := range []struct {
		sent, at int64
		want     bool
	}{{12_000, 25_000, true}, {12_000, 35_000, true}, {5000, 15_000, false}, {19_500, 25_000, false}, {5000, 25_000, true}} {
		if got := r.enteredTwice(c.sent, c.at); got != c.want {
			t.Errorf("sent at %d, came at %d: %t", c.sent, c.at, got)
		}
	}
}

// What retention takes from the commit log it does not take from a compacted queue, whose records are in another log.
func TestCut(t *testing.T) {
	queue := func() *pages { return &pages{sums: make([][16]byte, 3), physical: []int64{0, 500, 1500}} }
	b := &book{queues: map[place]*pages{{plainTopic(0), 0}: queue(), {keyedTopic, 0}: queue()}}
	if n := b.cut(1000); n != 2 || b.queues[place{plainTopic(0), 0}].first != 2 || b.queues[place{keyedTopic, 0}].first != 0 {
		t.Errorf("%d went: %+v", n, b.queues)
	}
}
