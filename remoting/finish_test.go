package remoting

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// later answers at the end of its batch.
type later struct {
	note    func(string)
	opaque  int32
	replier Replier
	defect  bool
}

func (l *later) EndBatch() {
	l.note(fmt.Sprintf("end %d", l.opaque))
	if l.defect {
		panic("a defect")
	}
	l.replier.Reply(&Reply{Code: l.opaque})
}

func TestWhatIsPutOffEndsWithItsBatch(t *testing.T) {
	var mu sync.Mutex
	var notes []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, s)
	}
	lane := NewLane("one", 1, 10)
	defer lane.Close()
	putOff := func(r *Request) {
		note(fmt.Sprintf("work %d", r.Opaque))
		l := &later{note: note, opaque: r.Opaque, replier: r.Replier(), defect: r.Code == 2}
		if !r.AtBatchEnd(l) {
			note("alone")
			l.EndBatch()
		}
	}
	var log logBuffer
	s := startServer(t, ServerOptions{Log: log.logger(), Routes: []Route{
		{Code: 1, Handle: putOff},
		{Code: 2, Handle: putOff},
		{Code: 3, Handle: echo},
		{Code: 4, Lane: lane, Handle: putOff},
		{Code: 5, Handle: func(r *Request) { r.GoOn(lane, putOff) }},
	}})
	for _, c := range []struct {
		name    string
		codes   []int
		answers []int32 // opaques
		notes   []string
	}{
		{"in order, after those that answer at once", []int{1, 3, 1}, []int32{1, 0, 2}, []string{"work 0", "work 2", "end 0", "end 2"}},
		{"a defect", []int{1, 2, 1}, []int32{0, 2}, []string{"work 0", "work 1", "work 2", "end 0", "end 1", "end 2"}},
		{"in a lane", []int{4}, []int32{0}, []string{"work 0", "alone", "end 0"}},
		{"moved to a lane", []int{5}, []int32{0}, []string{"work 0", "alone", "end 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mu.Lock()
			notes = nil
			mu.Unlock()
			nc := dialRaw(t, s)
			var frames []byte
			for i, code := range c.codes {
				frames = append(frames, jsonFrame(fmt.Sprintf(`{"code":%d,"opaque":%d}`, code, i), "")...)
			}
			mustWrite(t, nc, frames)
			for _, want := range c.answers {
				if _, r := readFrame(t, nc); r.Opaque != want {
					t.Fatalf("answer to %d, want %d", r.Opaque, want)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(notes, c.notes) {
				t.Fatalf("%q, want %q", notes, c.notes)
			}
		})
	}
	if !strings.Contains(log.String(), "a defect") {
		t.Errorf("log is %q", log.String())
	}
}
