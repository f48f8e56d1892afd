package bench

import (
	"encoding/binary"
	"slices"
	"testing"
)

func TestPhysicalOffsetOfAnAnswer(t *testing.T) {
	for _, s := range []Serialization{JSON, Binary} {
		f := frame(s, 0, opaqueBase, []pair{{"queueOffset", "5"}, {"msgId", "7F00000100002A9F00000000000012AB"}}, nil)
		a, err := parseAnswer(f[4:])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.physical(); err != nil || got != 0x12AB {
			t.Errorf("serialization %d: %d, %v", s, got, err)
		}
	}
	for name, header := range map[string]string{"none": `{"code":0}`, "short": `{"code":0,"extFields":{"msgId":"12AB"}}`, "empty": `{"code":0,"extFields":{"msgId":""}}`} {
		if got, err := (&answer{header: []byte(header)}).physical(); err == nil {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestWordsOfAnAnswer(t *testing.T) {
	a := answer{header: []byte(`{"code":0,"extFields":{"popTime":"17","restNum":3,"startOffsetInfo":"0 3 100;0 1 7"},"flag":1}`)}
	for name, want := range map[string]string{"popTime": "17", "restNum": "3", "startOffsetInfo": "0 3 100;0 1 7", "flag": "1", "none": ""} {
		if got := a.word(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// stored is a record of which only what a pop looks at is there.
func stored(queue int32, offset int64) []byte {
	b := make([]byte, 91)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[12:], uint32(queue))
	binary.BigEndian.PutUint64(b[20:], uint64(offset))
	return b
}

func TestPopReadsQueuesAndOffsets(t *testing.T) {
	body := slices.Concat(stored(3, 100), stored(3, 103), stored(1, 7))
	p := &popper{tally: new(tally), run: new(run)}
	if err := p.read(&answer{header: []byte(`{"code":0,"extFields":{"startOffsetInfo":"0 3 100;0 1 7"}}`), body: body}); err != nil {
		t.Fatal(err)
	}
	if len(p.popped) != 2 || p.popped[0].queue != 3 || p.popped[0].start != 100 || !slices.Equal(p.popped[0].offsets, []int64{100, 103}) || !slices.Equal(p.popped[1].offsets, []int64{7}) {
		t.Errorf("popped %+v", p.popped)
	}
	if p.run.popped.Load() != 3 {
		t.Errorf("%d messages, want 3", p.run.popped.Load())
	}
	for name, a := range map[string]answer{
		"no start":        {header: []byte(`{"code":0}`)},
		"start without 3": {header: []byte(`{"code":0,"extFields":{"startOffsetInfo":"0 3"}}`)},
		"a record's size": {header: []byte(`{"code":0,"extFields":{"startOffsetInfo":"0 3 100"}}`), body: append(stored(3, 1), make([]byte, 100)...)},
	} {
		if err := p.read(&a); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What a broker says by itself bears a number that no request of ours has.
func TestNextPassesOverWhatTheBrokerAsks(t *testing.T) {
	c := &conn{buf: slices.Concat(frame(JSON, 40, 7, nil, nil), frame(JSON, 0, opaqueBase+2, nil, nil))}
	c.w = len(c.buf)
	a, ok, err := c.next()
	if err != nil || !ok || a.slot != 2 {
		t.Errorf("slot %d, %v, %v", a.slot, ok, err)
	}
}
