package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/record"
	"apogee/store/verify"
)

// message is where a message of a golden directory stands.
type message struct {
	topic       string
	queue       int32
	batch       bool
	entry, phys int64 // number in its queue; place in the log
	rec         []byte
}

// messages lists those that queues lead to.
func messages(t *testing.T, dir string) []message {
	t.Helper()
	var out []message
	type key struct {
		topic string
		queue int32
		batch bool
	}
	count := map[key]int64{}
	_, err := verify.Run(context.Background(), verify.Options{Root: os.DirFS(dir), Visit: func(v *verify.Visited) {
		k := key{v.Topic, v.Queue, v.Batch}
		n := v.Entry.QueueOffset
		if v.Batch {
			n = count[k]
		}
		count[k]++
		out = append(out, message{v.Topic, v.Queue, v.Batch, n, v.Entry.PhysicalOffset, bytes.Clone(v.Record)})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flipper changes bytes of files.
type flipper struct {
	t     *testing.T
	dir   string
	quick bool // look at small files only
}

// flip changes bits of a byte, looks at the directory, changes them back, and wants a finding of a kind.
func (f *flipper) flip(what, file string, at int64, bits byte, want ...verify.Kind) {
	f.t.Helper()
	name := filepath.Join(f.dir, file)
	change := func() {
		h, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		defer h.Close()
		var b [1]byte
		if _, err := h.ReadAt(b[:], at); err != nil {
			f.t.Fatalf("%s: %s at %d: %v", what, file, at, err)
		}
		b[0] ^= bits
		if _, err := h.WriteAt(b[:], at); err != nil {
			f.t.Fatal(err)
		}
	}
	change()
	defer change()
	_, list := lookWith(f.t, f.dir, f.quick)
	for _, found := range list {
		if found.Level != verify.Note && slices.Contains(want, found.Kind) {
			if len(list) > 12 {
				f.t.Errorf("%s: one bit, and %d findings", what, len(list))
			}
			return
		}
	}
	f.t.Errorf("%s: %s at %d: found %+v, want %v", what, file, at, list, want)
}

// pick is the first message that pleases.
func pick(t *testing.T, list []message, ok func(*message) bool) *message {
	t.Helper()
	for i := range list {
		if ok(&list[i]) {
			return &list[i]
		}
	}
	t.Fatal("there is no such message")
	return nil
}

func (m *message) entryPlace(fileSize, width int64) (file string, at int64) {
	dir := "consumequeue"
	if m.batch {
		dir = "batchconsumequeue"
	}
	pos := m.entry * width
	name := strconv.FormatInt(pos/fileSize*fileSize+100000000000000000, 10)
	return filepath.Join(dir, m.topic, strconv.Itoa(int(m.queue)), "00"+"0"+name[1:]), pos % fileSize
}

const firstLog = "commitlog/00000000000000000000"

// TestFlippedBits flips single bits of log, queues and index of a directory of Java's and looks for them.
func TestFlippedBits(t *testing.T) {
	dir := filepath.Join(testkit.Golden(t, "clean", nil), "store")
	for _, timers := range []string{"timerwheel", "timerlog", "config/timercheck"} { // their checks take longest, and are not asked for here
		if err := os.RemoveAll(filepath.Join(dir, timers)); err != nil {
			t.Fatal(err)
		}
	}
	list := messages(t, dir)
	f := &flipper{t: t, dir: dir}

	m := pick(t, list, func(m *message) bool { return m.topic == "Tags_s11" || m.topic == "Order_s11" && m.entry == 3 })
	var h record.Header
	if err := record.Parse(m.rec, &h); err != nil {
		t.Fatal(err)
	}
	body := int64(len(m.rec)-len(h.Properties)-2-len(h.Topic)-1) - int64(len(h.Body))
	topic := body + int64(len(h.Body)) + 1
	for _, tc := range []struct {
		what string
		at   int64
		bits byte
		want []verify.Kind
	}{
		{"size, greater", 2, 1, []verify.Kind{verify.LogHole}},
		{"size, beyond the file", 0, 0x40, []verify.Kind{verify.LogHole}},
		{"size, less", 3, 4, []verify.Kind{verify.LogHole}},
		{"magic", 5, 1, []verify.Kind{verify.LogHole}},
		{"body checksum", 9, 1, []verify.Kind{verify.LogBody}},
		{"queue id", 15, 8, []verify.Kind{verify.QueueDangling}},
		{"queue offset", 27, 8, []verify.Kind{verify.QueueEntry}},
		{"place", 33, 1, []verify.Kind{verify.LogPlace}},
		{"kind of host", 39, 0x10, []verify.Kind{verify.LogHole}},
		{"body", body, 1, []verify.Kind{verify.LogBody}},
		{"length of the topic", topic - 1, 1, []verify.Kind{verify.LogHole}},
		{"topic", topic, 1, []verify.Kind{verify.QueueDangling}},
		{"store time", 56, 1, []verify.Kind{verify.IndexTime, verify.IndexHeader}},
	} {
		f.flip("log: "+tc.what, firstLog, m.phys+tc.at, tc.bits, tc.want...)
	}
	last := list[0]
	for _, x := range list {
		if x.phys > last.phys {
			last = x
		}
	}
	f.flip("log: magic of the last record that a queue knows", firstLog, last.phys+5, 1, verify.LogLost, verify.LogHole)
	props := m.phys + int64(len(m.rec)-len(h.Properties))
	if k := bytes.Index(h.Properties, []byte("UNIQ_KEY\x01")); k >= 0 {
		f.flip("log: unique key", firstLog, props+int64(k)+9+30, 1, verify.IndexKey)
		f.flip("log: end of a property", firstLog, props+int64(k)+8, 1, verify.LogProps)
	}
	tagged := pick(t, list, func(m *message) bool { return !m.batch && record.Property(props2(m.rec), "TAGS") != "" })
	k := bytes.Index(tagged.rec, []byte("TAGS\x01"))
	f.flip("log: tags", firstLog, tagged.phys+int64(k)+5, 1, verify.QueueEntry)

	for _, at := range []int64{1, 5, 7, 9, 11, 15, 19} {
		file, pos := m.entryPlace(600, 20)
		f.flip("queue", file, pos+at, 4, verify.QueueEntry, verify.QueueOrder, verify.QueueDangling, verify.QueueHole, verify.QueueMissing, verify.QueueAhead)
	}
	b := pick(t, list, func(m *message) bool { return m.batch && m.entry == 1 })
	for _, at := range []int64{0, 7, 11, 19, 27, 35, 37} {
		file, pos := b.entryPlace(920, 46)
		f.flip("batch queue", file, pos+at, 2, verify.QueueEntry, verify.QueueOrder, verify.QueueDangling, verify.QueueHole, verify.QueueAhead)
	}

	names, err := filepath.Glob(filepath.Join(dir, "index", "*"))
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	index := filepath.Join("index", filepath.Base(names[1]))
	data, err := os.ReadFile(names[1])
	if err != nil {
		t.Fatal(err)
	}
	count := int64(binary.BigEndian.Uint32(data[36:]))
	for _, at := range []int64{7, 15, 23, 31, 35, 39} {
		f.flip("index header", index, at, 2, verify.IndexHeader, verify.IndexFile, verify.IndexChain)
	}
	slot := int64(40 + binary.BigEndian.Uint32(data[40+2000+20*50:])%500*4)
	f.flip("index slot", index, slot+3, 1, verify.IndexChain, verify.IndexFile)
	for _, at := range []int64{0, 3, 9, 11, 15, 19} {
		f.flip("index entry", index, 40+2000+20*50+at, 1, verify.IndexKey, verify.IndexDangling, verify.IndexOrder, verify.IndexTime, verify.IndexChain)
		f.flip("last index entry", index, 40+2000+20*(count-1)+at, 1, verify.IndexFile, verify.IndexKey, verify.IndexDangling, verify.IndexOrder, verify.IndexTime, verify.IndexChain)
	}
	f.flip("checkpoint: place of a record", "checkpoint", 47, 1, verify.CheckpointBad)
	f.flip("checkpoint: sign", "checkpoint", 24, 0x80, verify.CheckpointBad)
	f.flip("checkpoint: time", "checkpoint", 2, 2, verify.CheckpointBad)
}

func props2(rec []byte) string {
	var h record.Header
	if record.Parse(rec, &h) != nil {
		return ""
	}
	return string(h.Properties)
}
