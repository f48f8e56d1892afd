package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// javaRecords are the records in testdata by kind.
func javaRecords(t testing.TB) map[string][]byte {
	f, err := os.Open("testdata/java-5.5.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := map[string][]byte{}
	for s := bufio.NewScanner(f); s.Scan(); {
		kind, text, ok := strings.Cut(s.Text(), " ")
		if !ok || kind == "#" {
			continue
		}
		if m[kind], err = hex.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func encode(t testing.TB, m *Message, propCRC bool) []byte {
	t.Helper()
	l, err := m.Measure(propCRC)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, l.Total)
	Encode(b, m, l)
	if propCRC {
		SealCRC(b)
	}
	return b
}

func TestJavaRecordsEncodeToTheSameBytes(t *testing.T) {
	recs := javaRecords(t)
	if len(recs) < 7 {
		t.Fatalf("%d kinds of records", len(recs))
	}
	for kind, rec := range recs {
		var m Message
		if err := Decode(rec, &m); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got := encode(t, &m, false); !bytes.Equal(got, rec) {
			t.Errorf("%s: encodes to\n%x\nwant\n%x", kind, got, rec)
		}
		var h Header
		if err := errors.Join(Parse(rec, &h), h.CheckBody()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestJavaRecordFields(t *testing.T) {
	recs := javaRecords(t)
	var m Message
	if err := Decode(recs["v2"], &m); err != nil {
		t.Fatal(err)
	}
	if m.Magic != MagicV2 || len(m.Topic) <= 127 || !strings.HasPrefix(m.Topic, "%RETRY%ggg") {
		t.Errorf("V2 record: magic %x topic %q", m.Magic, m.Topic)
	}
	if err := Decode(recs["commit"], &m); err != nil {
		t.Fatal(err)
	}
	if m.SysFlag&SysTranMask != SysTranCommit || m.PreparedTransactionOffset == 0 {
		t.Errorf("commit record: sysFlag %x prepared at %d", m.SysFlag, m.PreparedTransactionOffset)
	}
	if err := Decode(recs["inner"], &m); err != nil {
		t.Fatal(err)
	}
	if m.SysFlag&SysInnerBatch == 0 || Property(m.Properties, PropInnerNum) == "" {
		t.Errorf("inner batch: sysFlag %x properties %q", m.SysFlag, m.Properties)
	}
	if err := Decode(recs["lmq"], &m); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(Property(m.Properties, PropMultiDispatch), "%LMQ%") {
		t.Errorf("multi dispatch: properties %q", m.Properties)
	}
}

func TestIPv6HostsGolden(t *testing.T) {
	m := Message{
		Topic: "T", QueueID: 3, Flag: 5, SysFlag: 0x1, BornTimestamp: 0x0102030405060708,
		BornHost:       netip.MustParseAddrPort("[fe80::1]:9"),
		StoreHost:      netip.MustParseAddrPort("[2001:db8::2]:10911"),
		ReconsumeTimes: 2, PreparedTransactionOffset: 7, Body: []byte("b"), Properties: "K\x01v\x02",
		QueueOffset: 11, PhysicalOffset: 13, StoreTimestamp: 17, BodyCRC: BodyCRC([]byte("b")),
	}
	want := strings.Join([]string{
		"00000079", "daa320a7", "71beeff9", "00000003", "00000005", "000000000000000b", "000000000000000d", "00000031",
		"0102030405060708", "fe800000000000000000000000000001", "00000009", "0000000000000011",
		"20010db8000000000000000000000002", "00002a9f", "00000002", "0000000000000007", "00000001", "62",
		"01", "54", "0004", "4b017602",
	}, "")
	got := encode(t, &m, false)
	if hex.EncodeToString(got) != want {
		t.Fatalf("got  %x\nwant %s", got, want)
	}
	// One host of each kind, and an IPv4 address that arrives in IPv6 form.
	m.BornHost = netip.MustParseAddrPort("[::ffff:10.0.0.1]:9")
	rec := encode(t, &m, false)
	var back Message
	if err := Decode(rec, &back); err != nil {
		t.Fatal(err)
	}
	if back.BornHost != netip.MustParseAddrPort("10.0.0.1:9") || back.StoreHost != m.StoreHost || back.SysFlag != 0x21 {
		t.Errorf("born %v store %v sysFlag %x", back.BornHost, back.StoreHost, back.SysFlag)
	}
	if StoreTimeOf(rec) != 17 || QueueOffsetOf(rec) != 11 || PhysicalOf(rec) != 13 || int(SizeOf(rec)) != len(rec) {
		t.Error("field readers disagree with Decode")
	}
}

func TestPatchSetsTheThreeFields(t *testing.T) {
	for _, born := range []string{"1.2.3.4:5", "[::1]:5"} {
		m := Message{Topic: "T", BornHost: netip.MustParseAddrPort(born), StoreHost: netip.MustParseAddrPort("1.2.3.4:6")}
		rec := encode(t, &m, false)
		Patch(rec, 1<<40, 1<<50, 1<<60)
		var back Message
		if err := Decode(rec, &back); err != nil {
			t.Fatal(err)
		}
		if back.QueueOffset != 1<<40 || back.PhysicalOffset != 1<<50 || back.StoreTimestamp != 1<<60 {
			t.Errorf("%s: %+v", born, back)
		}
	}
}

func TestPropertyCRC(t *testing.T) {
	for _, props := range []string{"", "A\x01b\x02", "A\x01b"} {
		m := Message{Topic: "T", Body: []byte("xyz"), Properties: props}
		rec := encode(t, &m, true)
		var h Header
		if err := Parse(rec, &h); err != nil {
			t.Fatal(err)
		}
		if err := h.CheckPropCRC(rec, true); err != nil {
			t.Errorf("%q: %v", props, err)
		}
		if props != "" && string(PropertyBytes(h.Properties, "A")) != "b" {
			t.Errorf("%q: stored as %q", props, h.Properties)
		}
		rec[offFlag]++
		if err := h.CheckPropCRC(rec, false); !errors.Is(err, ErrPropCRC) {
			t.Errorf("%q: a changed flag gives %v", props, err)
		}
	}
	plain := encode(t, &Message{Topic: "T"}, false)
	var h Header
	if err := Parse(plain, &h); err != nil {
		t.Fatal(err)
	}
	if h.CheckPropCRC(plain, false) != nil || !errors.Is(h.CheckPropCRC(plain, true), ErrPropCRC) {
		t.Error("a record without property CRC fails only where one is demanded")
	}
}

func TestParseRefuses(t *testing.T) {
	rec := encode(t, &Message{Topic: "Topic", Body: []byte("body"), Properties: "K\x01v\x02"}, false)
	const bodyLen = 84 // offset of the body length in V1 with IPv4 hosts
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(rec)) }
	tests := []struct {
		name string
		b    []byte
		want error
		size int
	}{
		{"nothing", nil, ErrShort, 0},
		{"seven bytes", rec[:7], ErrShort, 0},
		{"zero filled", make([]byte, 200), ErrMagic, 0},
		{"cut short", rec[:len(rec)-1], ErrShort, 0},
		{"size below the least", edit(func(b []byte) []byte { b[3] = 90; return b }), ErrMalformed, 0},
		{"negative size", edit(func(b []byte) []byte { b[0] = 0xFF; return b }), ErrMalformed, 0},
		{"body longer than the record", edit(func(b []byte) []byte { b[bodyLen] = 0x7F; return b }), ErrMalformed, len(rec)},
		{"body a byte too long", edit(func(b []byte) []byte { b[bodyLen+3]++; return b }), ErrMalformed, len(rec)},
		{"topic too long", edit(func(b []byte) []byte { b[bodyLen+8] = 127; return b }), ErrMalformed, len(rec)},
		{"topic length negative", edit(func(b []byte) []byte { b[bodyLen+8] = 200; return b }), ErrMalformed, len(rec)},
		{"properties short of the size", edit(func(b []byte) []byte { b[bodyLen+15]--; return b }), ErrMalformed, len(rec)},
		{"IPv6 flag on an IPv4 record", edit(func(b []byte) []byte { b[offSysFlag+3] = 0x30; return b }), ErrMalformed, len(rec)},
	}
	for _, tt := range tests {
		var h Header
		if err := Parse(tt.b, &h); !errors.Is(err, tt.want) || h.Size != tt.size {
			t.Errorf("%s: %v size %d, want %v size %d", tt.name, err, h.Size, tt.want, tt.size)
		}
	}
	blank := make([]byte, 8)
	PutBlank(blank, 1234)
	var h Header
	if err := Parse(blank, &h); !errors.Is(err, ErrBlank) || h.Size != 1234 {
		t.Errorf("blank: %v size %d", err, h.Size)
	}
	if err := Parse(append(bytes.Clone(rec), 1, 2, 3), &h); err != nil || h.Size != len(rec) {
		t.Errorf("bytes behind the record: %v size %d", err, h.Size)
	}
	if err := h.CheckBody(); !errors.Is(err, ErrBodyCRC) { // this test left the checksum 0
		t.Errorf("body check: %v", err)
	}
}

func TestMeasureRefuses(t *testing.T) {
	if _, err := (&Message{Properties: strings.Repeat("p", 32768)}).Measure(false); !errors.Is(err, ErrPropertiesTooLong) {
		t.Error(err)
	}
	if _, err := (&Message{Properties: strings.Repeat("p", 32767-20)}).Measure(true); !errors.Is(err, ErrPropertiesTooLong) {
		t.Error("CRC and separator must count: ", err)
	}
	if _, err := (&Message{Topic: strings.Repeat("p", 32768)}).Measure(false); !errors.Is(err, ErrTopicTooLong) {
		t.Error(err)
	}
}

func genMessage(t *rapid.T) Message {
	host := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		port := rapid.Uint16().Draw(t, "port")
		if rapid.Bool().Draw(t, "v6") {
			b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))
			return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr"))), port)
	})
	m := Message{
		Topic:          rapid.StringN(0, 300, 400).Draw(t, "topic"),
		QueueID:        rapid.Int32().Draw(t, "queue"),
		Flag:           rapid.Int32().Draw(t, "flag"),
		SysFlag:        rapid.Int32().Draw(t, "sys"),
		BornTimestamp:  rapid.Int64().Draw(t, "born"),
		BornHost:       host.Draw(t, "bornHost"),
		StoreHost:      host.Draw(t, "storeHost"),
		ReconsumeTimes: rapid.Int32().Draw(t, "times"), PreparedTransactionOffset: rapid.Int64().Draw(t, "prepared"),
		Body: rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "body"), Properties: rapid.String().Draw(t, "props"),
		QueueOffset: rapid.Int64().Draw(t, "qoff"), PhysicalOffset: rapid.Int64().Draw(t, "phys"),
		StoreTimestamp: rapid.Int64().Draw(t, "stored"),
	}
	m.BodyCRC = BodyCRC(m.Body)
	return m
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMessage(t)
		l, err := m.Measure(false)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, l.Total+3)
		Encode(dst, &m, l)
		if !bytes.Equal(dst[l.Total:], []byte{0, 0, 0}) {
			t.Fatal("wrote behind the record")
		}
		var back Message
		if err := Decode(dst, &back); err != nil {
			t.Fatal(err)
		}
		m.SysFlag &^= SysBornHostV6 | SysStoreHostV6
		m.SysFlag |= back.SysFlag & (SysBornHostV6 | SysStoreHostV6)
		if (back.SysFlag&SysBornHostV6 != 0) != m.BornHost.Addr().Is6() || (back.SysFlag&SysStoreHostV6 != 0) != m.StoreHost.Addr().Is6() {
			t.Fatalf("host flags %x for %v %v", back.SysFlag, m.BornHost, m.StoreHost)
		}
		if (back.Magic == MagicV2) != (len(m.Topic) > 127) || int(back.StoreSize) != l.Total {
			t.Fatalf("magic %x size %d", back.Magic, back.StoreSize)
		}
		if !bytes.Equal(back.Body, m.Body) {
			t.Fatal("body differs")
		}
		m.Magic, m.StoreSize, m.Body, back.Body = back.Magic, back.StoreSize, nil, nil
		if !reflect.DeepEqual(back, m) {
			t.Fatalf("got %+v\nwant %+v", back, m)
		}
	})
}
