package record

import (
	"bytes"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, rec := range javaRecords(f) {
		f.Add(rec)
	}
	blank := make([]byte, 8)
	PutBlank(blank, 8)
	f.Add(blank)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		err := Parse(b, &h)
		var m Message
		if (Decode(b, &m) == nil) != (err == nil) {
			t.Fatal("Parse and Decode disagree")
		}
		if err != nil {
			return
		}
		if h.Size > len(b) || len(h.Body)+len(h.Topic)+len(h.Properties) > h.Size-MinSize {
			t.Fatalf("a record of %d in %d bytes has fields of %d, %d, %d", h.Size, len(b), len(h.Body), len(h.Topic), len(h.Properties))
		}
		_ = h.CheckBody()
		_ = h.CheckPropCRC(b[:h.Size], true)
		Patch(b, 1, 2, 3)
		if err := Parse(b, &h); err != nil || h.QueueOffset != 1 || h.PhysicalOffset != 2 || h.StoreTimestamp != 3 {
			t.Fatalf("patched record: %v %+v", err, h)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(AppendBatch(AppendBatch(nil, BatchRecord{1, []byte("a"), []byte("K\x01v\x02")}), BatchRecord{}))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out []byte
		rest := b
		for len(rest) > 0 {
			r, next, err := CutBatch(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) {
				t.Fatal("no progress")
			}
			rest = next
			out = AppendBatch(out, r)
		}
		if len(out) != len(b) {
			t.Fatalf("%d bytes come back as %d", len(b), len(out))
		}
	})
}

func TestCutBatch(t *testing.T) {
	body := AppendBatch(AppendBatch(nil, BatchRecord{7, []byte("one"), []byte("K\x01v\x02")}), BatchRecord{8, nil, nil})
	a, rest, err := CutBatch(body)
	if err != nil || a.Flag != 7 || string(a.Body) != "one" || string(a.Properties) != "K\x01v\x02" {
		t.Fatalf("%+v %v", a, err)
	}
	b, rest, err := CutBatch(rest)
	if err != nil || b.Flag != 8 || len(b.Body) != 0 || len(b.Properties) != 0 || len(rest) != 0 {
		t.Fatalf("%+v %v", b, err)
	}
	for n := range body {
		for rest := body[:n]; len(rest) > 0; {
			var err error
			if _, rest, err = CutBatch(rest); err != nil {
				break
			}
			if len(rest) == 0 && n != len(body)-22 {
				t.Fatalf("a body cut to %d bytes is taken", n)
			}
		}
	}
	negative := bytes.Clone(body)
	negative[16] = 0x80
	if _, _, err := CutBatch(negative); err == nil {
		t.Error("a negative body length is taken")
	}
}

func FuzzMsgID(f *testing.F) {
	f.Add("0A00000100002A9F0000000000000100")
	f.Add("20010DB800000000000000000000000200002A9F0000000000000100")
	f.Fuzz(func(t *testing.T, id string) {
		host, off, err := ParseMessageID(id)
		if err != nil {
			return
		}
		if host.Addr().Is4In6() {
			return // written as IPv4
		}
		if got := AppendMessageID(nil, host, off); !bytes.EqualFold(got, []byte(id)) {
			t.Fatalf("%q comes back as %q", id, got)
		}
	})
}
