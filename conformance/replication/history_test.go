package replication

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/remoting/code"
)

// stored is a message that was acknowledged at an offset.
func acknowledged(id int32, offset, call, ret int64) *sent {
	return &sent{id: id, call: call, ret: ret, answered: true, code: code.Success, offset: offset}
}

func onlyOK(s *sent) bool { return s.ok() }

func TestJudge(t *testing.T) {
	sends := func(more ...*sent) []*sent {
		return append([]*sent{acknowledged(1, 0, 0, 10), acknowledged(2, 1, 20, 30)}, more...)
	}
	open := &sent{id: 3, call: 40, ret: 50}
	notCopied := &sent{id: 3, call: 40, ret: 50, answered: true, code: code.FlushSlaveTimeout, offset: 2}
	for name, c := range map[string]struct {
		h        history
		f        []int32
		promised func(*sent) bool
		want     string
	}{
		"all is there":                         {history{sends: sends()}, []int32{1, 2}, nil, "linearizable"},
		"acknowledged and gone":                {history{sends: sends()}, []int32{1}, nil, "VIOLATED"},
		"another one in its place":             {history{sends: sends(open)}, []int32{1, 3}, nil, "VIOLATED"},
		"nobody sent it":                       {history{sends: sends()}, []int32{1, 2, 9}, nil, "VIOLATED"},
		"there twice":                          {history{sends: sends()}, []int32{1, 2, 2}, nil, "VIOLATED"},
		"no answer, and there":                 {history{sends: sends(open)}, []int32{1, 2, 3}, nil, "linearizable"},
		"no answer, and not there":             {history{sends: sends(open)}, []int32{1, 2}, nil, "linearizable"},
		"order against time":                   {history{sends: []*sent{acknowledged(1, 1, 0, 10), acknowledged(2, 0, 20, 30)}}, []int32{2, 1}, nil, "VIOLATED"},
		"order among concurrent":               {history{sends: []*sent{acknowledged(1, 1, 0, 30), acknowledged(2, 0, 20, 40)}}, []int32{2, 1}, nil, "linearizable"},
		"read":                                 {history{sends: sends(), looks: []look{{at: 0, ids: []int32{1, 2}, call: 25, ret: 26}}}, []int32{1, 2}, nil, "linearizable"},
		"read before it was sent":              {history{sends: sends(), looks: []look{{at: 0, ids: []int32{1, 2}, call: 12, ret: 15}}}, []int32{1, 2}, nil, "VIOLATED"},
		"read of something else":               {history{sends: sends(), looks: []look{{at: 0, ids: []int32{2}, call: 50, ret: 60}}}, []int32{1, 2}, nil, "VIOLATED"},
		"a replica lacks what was promised":    {history{sends: sends()}, []int32{1}, onlyOK, "VIOLATED"},
		"a replica lacks what was not":         {history{sends: sends(notCopied)}, []int32{1, 2}, onlyOK, "linearizable"},
		"a replica has more than was promised": {history{sends: sends(notCopied)}, []int32{1, 2, 3}, onlyOK, "linearizable"},
		"the master lacks what it stored":      {history{sends: sends(notCopied)}, []int32{1, 2}, nil, "VIOLATED"},
		"read of what a replica lacks": {
			history{sends: sends(notCopied), looks: []look{{at: 1, ids: []int32{2, 3}, call: 60, ret: 70}}},
			[]int32{1, 2},
			onlyOK, "linearizable",
		},
		"read of what is far behind its end": {
			history{sends: []*sent{acknowledged(1, 0, 0, 10), notCopied}, looks: []look{{at: 2, ids: []int32{3}, call: 60, ret: 70}}},
			[]int32{1},
			onlyOK, "linearizable",
		},
	} {
		got, _, why := judge(&c.h, final{c.f}, c.promised, time.Minute)
		if got != c.want || (got == "linearizable") != (len(why) == 0) {
			t.Errorf("%s: %s %q, want %s", name, got, why, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	h := history{sends: []*sent{acknowledged(1, 0, 0, 10), acknowledged(2, 1, 20, 30), acknowledged(3, 2, 40, 50)}}
	_, _, why := judge(&h, final{{1, 2}}, nil, time.Minute)
	if text := strings.Join(why, "; "); !strings.Contains(text, "queue 0: no order explains") || !strings.Contains(text, "ends with 3 messages") {
		t.Errorf("%s", text)
	}
}

// TestJudgeOfAQueue has clients of a queue that is right: the checker agrees, and no longer does when one of them is told something wrong.
func TestJudgeOfAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var h history
		var queue []int32
		for now := int64(0); now < 100; now++ {
			call, ret := now*10-rnd.Int64N(40), now*10+1+rnd.Int64N(40) // about what others do at the same time
			if n := len(queue); n > 0 && rnd.IntN(3) == 0 {
				at := rnd.IntN(n)
				h.looks = append(h.looks, look{reader: 9, at: int64(at), ids: queue[at : at+rnd.IntN(n-at)+1], call: call, ret: ret})
				continue
			}
			s := acknowledged(int32(now), int64(len(queue)), call, ret)
			s.answered = rnd.IntN(5) > 0
			queue = append(queue, s.id)
			h.sends = append(h.sends, s)
		}
		if got, _, why := judge(&h, final{queue}, nil, time.Minute); got != "linearizable" {
			t.Fatalf("%s: %q", got, why)
		}
		var told []*sent
		for _, s := range h.sends {
			if s.answered {
				told = append(told, s)
			}
		}
		if len(told) > 0 {
			told[rnd.IntN(len(told))].offset++
			if got, _, _ := judge(&h, final{queue}, nil, time.Minute); got != "VIOLATED" {
				t.Fatalf("%s with a wrong answer", got)
			}
		}
	})
}

func TestAcknowledgedTooEarly(t *testing.T) {
	sends := []*sent{{id: 1, ret: 10, answered: true, physical: 100, size: 50}, {id: 2, ret: 20, answered: true, physical: 0, size: 50}}
	for _, c := range []struct {
		call, end int64
		want      int
	}{{5, 0, 0}, {10, 0, 0}, {11, 0, 1}, {11, 120, 1}, {11, 151, 0}, {25, 151, 0}, {25, 51, 1}} {
		if got := tooEarly(sends, []audit{{c.call, c.end}}); len(got) != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
