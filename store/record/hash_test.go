package record

import (
	"net/netip"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

func TestHashString(t *testing.T) {
	// Values of Java's String.hashCode; the malformed ones of new String(bytes, UTF_8).hashCode().
	tests := []struct {
		s    string
		want int32
	}{
		{"", 0},
		{"TagA", 2598919},
		{"Aa", 2112},
		{"BB", 2112},
		{"polygenelubricants", -2147483648},
		{"标签", 857175},
		{"é", 233},
		{"😀", 1772899},
		{"\xe6\xa0", 0xFFFD},             // one replacement for a beginning
		{"\xff\xff", 0xFFFD*31 + 0xFFFD}, // one for each byte that begins nothing
		{"\xed\xa0\x80", 0xFFFD},         // a surrogate: one
		{"\xe0\x80", 0xFFFD*31 + 0xFFFD}, // overlong
		{"\xf0\x9f\x98A", 0xFFFD*31 + 'A'},
	}
	for _, tt := range tests {
		if got := HashString(tt.s); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.s, got, tt.want)
		}
	}
}

func TestHashAgainstUTF16(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		var h uint32
		for _, u := range utf16.Encode([]rune(a + b)) {
			h = 31*h + uint32(u)
		}
		if got := HashMore(HashString(a), b); got != int32(h) {
			t.Fatalf("%q+%q: %d, want %d", a, b, got, int32(h))
		}
	})
}

func TestTagsCode(t *testing.T) {
	delays := []int64{1000, 5000, 10000}
	tests := []struct {
		name, topic, tags, delay string
		want                     int64
	}{
		{"no tags", "T", "", "", 0},
		{"tags", "T", "TagA", "", 2598919},
		{"a negative hash stays negative", "T", "polygenelubricants", "", -2147483648},
		{"delay outside the schedule topic", "T", "TagA", "2", 2598919},
		{"delay", ScheduleTopic, "TagA", "2", 105000},
		{"level above the highest", ScheduleTopic, "TagA", "99", 110000},
		{"level 0", ScheduleTopic, "TagA", "0", 2598919},
		{"no number", ScheduleTopic, "", "x", 0},
	}
	for _, tt := range tests {
		if got := TagsCode(tt.topic, tt.tags, tt.delay, 100000, delays); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := TagsCode(ScheduleTopic, "", "3", 1, nil); got != 0 {
		t.Errorf("without a delay table: %d", got)
	}
}

func TestMessageID(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("10.0.0.1:10911"), netip.MustParseAddrPort("[2001:db8::2]:10911")
	if got := string(AppendMessageID(nil, v4, 256)); got != "0A00000100002A9F0000000000000100" {
		t.Error(got)
	}
	if got := string(AppendMessageID(nil, v6, 256)); got != "20010DB800000000000000000000000200002A9F0000000000000100" {
		t.Error(got)
	}
	for _, host := range []netip.AddrPort{v4, v6} {
		got, off, err := ParseMessageID(string(AppendMessageID(nil, host, 1<<40)))
		if err != nil || got != host || off != 1<<40 {
			t.Errorf("%v %d %v", got, off, err)
		}
	}
	for _, id := range []string{"", "0A", "0A00000100002A9F00000000000001", "0A00000100002A9F000000000000010G", "0A000001FFFF2A9F0000000000000100"} {
		if _, _, err := ParseMessageID(id); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
}
