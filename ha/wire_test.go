package ha

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestFrameHeads(t *testing.T) {
	var b [frameHead]byte
	putFrame(b[:], 1<<40+5, 32768)
	if want := []byte{0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0x80, 0}; !bytes.Equal(b[:], want) {
		t.Errorf("% x", b)
	}
	putFrame(b[:], -1, int(ctlSum))
	if off, size := getFrame(b[:]); off != -1 || size != ctlSum {
		t.Errorf("%d, %d", off, size)
	}
}

func TestReportsComeInAnyPieces(t *testing.T) {
	want := []int64{0, 5, -7, 1 << 62}
	stream := putWords(want...)
	for piece := 1; piece <= len(stream); piece++ {
		var r reports
		var got []int64
		for b := range slices.Chunk(stream, piece) {
			if err := r.each(b, func(w int64) error { got = append(got, w); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d at a time: %v", piece, got)
		}
	}
	stop := errors.New("stop")
	for _, b := range [][]byte{stream, stream[:8]} {
		var r reports
		n := 0
		if err := r.each(b, func(int64) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
			t.Errorf("%v after %d words", err, n)
		}
	}
}

// frame is a frame as a master sends it.
func frame(off int64, body string) []byte {
	b := make([]byte, frameHead, frameHead+len(body))
	putFrame(b, off, len(body))
	return append(b, body...)
}

// control is a control frame.
func control(kind int32, value int64) []byte {
	b := make([]byte, frameHead)
	putFrame(b, value, int(kind))
	return b
}

func TestNotesAmongFrames(t *testing.T) {
	stream := slices.Concat(control(ctlEnd, 900), frame(7, "abc"), control(ctlTime, 5), frame(10, ""), control(ctlEnd, -1), frame(10, "d"))
	for piece := 1; piece <= len(stream); piece++ {
		var got []byte
		var notes []int64
		idle := 0
		in := frames{next: 7, largest: 100, note: func(kind int32, v int64) error { notes = append(notes, int64(kind), v); return nil }, idle: func() { idle++ }}
		for b := range slices.Chunk(bytes.Clone(stream), piece) {
			_, data, err := in.feed(b)
			if got = append(got, data...); err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != "abcd" || !slices.Equal(notes, []int64{int64(ctlEnd), 900, int64(ctlTime), 5, int64(ctlEnd), -1}) || idle != 1 {
			t.Errorf("%d at a time: %q, notes %v, idle %d times", piece, got, notes, idle)
		}
	}
	in := frames{next: 7, largest: 100, note: new(link).note}
	if _, _, err := in.feed(control(-99, 0)); !errors.Is(err, errProtocol) {
		t.Errorf("a note of a new kind: %v", err)
	}
}

func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		next   int64
		stream []byte
		data   string
		after  int64
		bad    bool
	}{
		"nothing":               {7, nil, "", 7, false},
		"heartbeats":            {7, bytes.Repeat(frame(7, ""), 3), "", 7, false},
		"two and a heartbeat":   {7, slices.Concat(frame(7, "abc"), frame(10, ""), frame(10, "defgh")), "abcdefgh", 15, false},
		"the master chooses":    {-1, slices.Concat(frame(16, "abc"), frame(19, "d")), "abcd", 20, false},
		"a gap":                 {7, slices.Concat(frame(7, "abc"), frame(11, "d")), "abc", 10, true},
		"going back":            {7, frame(6, "x"), "", 7, true},
		"before the log":        {-1, frame(-5, "x"), "", -1, true},
		"size below 0":          {7, []byte{0, 0, 0, 0, 0, 0, 0, 7, 0xFF, 0, 0, 0}, "", 7, true},
		"more than a file":      {7, frame(7, string(make([]byte, 101))), "", 7, true},
		"as much as a file has": {7, frame(7, string(make([]byte, 100))), string(make([]byte, 100)), 107, false},
	} {
		for piece := 1; piece <= len(c.stream)+1; piece++ {
			in := frames{next: c.next, largest: 100}
			var got []byte
			var err error
			for b := range slices.Chunk(bytes.Clone(c.stream), piece) {
				var off int64
				var data []byte
				before := c.next + int64(len(got))
				if off, data, err = in.feed(b); len(data) > 0 && c.next >= 0 && off != before {
					t.Errorf("%s, %d at a time: bytes of %d, want %d", name, piece, off, before)
				}
				if got = append(got, data...); err != nil {
					break
				}
			}
			if string(got) != c.data || in.next != c.after || errors.Is(err, errProtocol) != c.bad {
				t.Errorf("%s, %d at a time: %q, next %d, %v", name, piece, got, in.next, err)
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(frame(7, "abc"), frame(10, ""), frame(10, "defgh")), uint16(5))
	f.Add(slices.Concat(frame(7, "abc"), control(ctlEnd, 10), control(ctlTime, 1<<40), frame(10, "d"), control(-99, 1)), uint16(20))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var notes [2][]int64
		taker := func(i int) func(int32, int64) error {
			return func(kind int32, value int64) error {
				if notes[i] = append(notes[i], int64(kind), value); kind != ctlEnd && kind != ctlTime {
					return errProtocol
				}
				return nil
			}
		}
		whole, parts := frames{next: 7, largest: 64, note: taker(0)}, frames{next: 7, largest: 64, note: taker(1)}
		n := int(cut) % (len(b) + 1)
		a, c := bytes.Clone(b[:n]), bytes.Clone(b[n:])
		_, want, err := whole.feed(bytes.Clone(b))
		_, d1, e1 := parts.feed(a)
		got := bytes.Clone(d1)
		if e1 == nil {
			var d2 []byte
			_, d2, e1 = parts.feed(c)
			got = append(got, d2...)
		}
		if !bytes.Equal(got, want) || (err == nil) != (e1 == nil) || whole.next != parts.next || !slices.Equal(notes[0], notes[1]) {
			t.Fatalf("whole: %q, %v; in parts: %q, %v", want, err, got, e1)
		}
		if whole.next != 7+int64(len(want)) {
			t.Fatalf("%d bytes, next %d", len(want), whole.next)
		}
	})
}

func FuzzHello(f *testing.F) {
	ok := hello{id: 1, begin: 0, end: 100, tail: 100, sum: 5}
	f.Add(ok.encode())
	f.Add(putWords(helloMagic, version|flagLastFile, 3, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w []int64
		var r reports
		_ = r.each(b, func(x int64) error { w = append(w, x); return nil })
		if len(w) < helloWords || w[0] != helloMagic {
			return
		}
		h, err := decodeHello(w[1:helloWords])
		if err != nil {
			return
		}
		if h.tail > tailMost || h.end-h.tail < h.begin || h.end < 0 {
			t.Fatalf("%+v", h)
		}
	})
}

func TestHello(t *testing.T) {
	for name, c := range map[string]struct {
		h  hello
		ok bool
	}{
		"empty":                  {hello{id: 1}, true},
		"empty, inside":          {hello{id: 1, begin: 4096, end: 4096}, true},
		"last file only":         {hello{id: 1, lastFile: true}, true},
		"small":                  {hello{id: 2, end: 10, tail: 10, sum: 1<<32 - 1}, true},
		"large":                  {hello{id: 2, begin: 1 << 40, end: 1 << 41, tail: tailMost}, true},
		"proves nothing":         {hello{id: 2, end: 10}, false},
		"proves too much":        {hello{id: 2, end: 1 << 30, tail: tailMost + 1}, false},
		"proves what it has not": {hello{id: 2, begin: 5, end: 10, tail: 6}, false},
		"ends before it begins":  {hello{id: 2, begin: 10, end: 5}, false},
		"no id":                  {hello{id: -1}, false},
		"wants notes":            {hello{id: 1, notes: true}, true},
	} {
		var w []int64
		var r reports
		_ = r.each(c.h.encode(), func(x int64) error { w = append(w, x); return nil })
		got, err := decodeHello(w[1:])
		if w[0] != helloMagic || w[len(w)-1] != c.h.end || (err == nil) != c.ok || got != c.h {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
