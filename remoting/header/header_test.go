package header

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"
)

func TestParseIntReadsWhatLongParseLongReads(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "-0": 0, "+5": 5, "-5": -5, "0012": 12,
		"9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64,
	} {
		if n, ok := ParseInt(s); !ok || n != want {
			t.Errorf("ParseInt(%q) = %d, %v, want %d", s, n, ok, want)
		}
	}
	for _, s := range []string{"", "-", "+", "1 ", " 1", "1.0", "1e2", "0x1", "--1", "1_000", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "\xff"} {
		if n, ok := ParseInt(s); ok {
			t.Errorf("ParseInt(%q) = %d, want no", s, n)
		}
	}
}

func FuzzParseInt(f *testing.F) {
	for _, s := range []string{"0", "-1", "+7", "9223372036854775808", "x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := strconv.ParseInt(s, 10, 64)
		if got, ok := ParseInt(s); ok != (err == nil) || ok && got != want {
			t.Errorf("ParseInt(%q) = %d, %v; strconv says %d, %v", s, got, ok, want, err)
		}
	})
}

func TestGetTakesTheLastOfEqualKeys(t *testing.T) {
	f := Fields{{"a", "1"}, {"b", "2"}, {"a", "3"}}
	if v, ok := f.Get("a"); !ok || v != "3" {
		t.Errorf("Get = %q, %v, want 3", v, ok)
	}
	if _, ok := f.Get("c"); ok {
		t.Error("Get found a key that is not there")
	}
}

func TestDecodeTakesLongAndCompactNames(t *testing.T) {
	var long, compact SendMessageRequest
	if err := long.DecodeFields(Fields{
		{"producerGroup", "G"},
		{"topic", "T"},
		{"defaultTopic", "D"},
		{"defaultTopicQueueNums", "4"},
		{"queueId", "-1"},
		{"sysFlag", "0"},
		{"bornTimestamp", "1700000000000"},
		{"flag", "7"},
		{"batch", "TRUE"},
		{"maxReconsumeTimes", "16"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := compact.DecodeFields(Fields{
		{"a", "G"}, {"b", "T"}, {"c", "D"}, {"d", "4"}, {"e", "-1"}, {"f", "0"}, {"g", "1700000000000"}, {"h", "7"}, {"m", "true"}, {"l", "16"},
	}); err != nil {
		t.Fatal(err)
	}
	if long != compact {
		t.Errorf("long names give %+v, compact ones %+v", long, compact)
	}
	if long.QueueID != -1 || !long.Batch.Or(false) || long.MaxReconsumeTimes != Some[int32](16) || long.ReconsumeTimes.Valid {
		t.Errorf("got %+v", long)
	}
}

func TestDecodeNamesTheFirstRequiredFieldThatIsMissingOrUnreadable(t *testing.T) {
	var h QueryConsumerOffsetRequest
	for want, f := range map[string]Fields{
		"consumerGroup": nil,
		"topic":         {{"consumerGroup", "G"}},
		"queueId":       {{"consumerGroup", "G"}, {"topic", "T"}, {"queueId", "one"}},
	} {
		var missing *MissingFieldError
		if err := h.DecodeFields(f); !errors.As(err, &missing) || missing.Field != want {
			t.Errorf("DecodeFields(%v): %v, want %s missing", f, err, want)
		}
	}
}

func TestPrimitivesOfJavaAreNeverMissing(t *testing.T) {
	var reset InvokeBrokerToResetOffsetRequest
	if err := reset.DecodeFields(Fields{{"topic", "T"}, {"group", "G"}}); err != nil || reset.QueueID != -1 || reset.IsForce {
		t.Errorf("got %+v, %v", reset, err)
	}
	var all GetAllTopicConfigRequest
	if err := all.DecodeFields(nil); err != nil {
		t.Errorf("a client before 5.4 sends no topicSeq: %v", err)
	}
}

// list collects pairs.
type list struct{ f Fields }

func (l *list) String(k, v string)    { l.f = append(l.f, Pair{k, v}) }
func (l *list) Int(k string, v int64) { l.String(k, strconv.FormatInt(v, 10)) }
func (l *list) Bool(k string, v bool) { l.String(k, strconv.FormatBool(v)) }

func TestEncodeLeavesOutWhatJavaHasAsNull(t *testing.T) {
	var l list
	(&PullMessageResponse{NextBeginOffset: 5, TopicSysFlag: Some[int32](0)}).EncodeFields(&l)
	want := map[string]string{"suggestWhichBrokerId": "0", "nextBeginOffset": "5", "minOffset": "0", "maxOffset": "0", "topicSysFlag": "0"}
	if len(l.f) != len(want) {
		t.Fatalf("got %v", l.f)
	}
	for k, v := range want {
		if got, _ := l.f.Get(k); got != v {
			t.Errorf("%s is %q, want %q", k, got, v)
		}
	}
}

func FuzzHeaderFields(f *testing.F) {
	f.Add("a", "G", "b", "T", "e", "3")
	f.Add("producerGroup", "", "queueId", "x", "m", "true")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, k3, v3 string) {
		fields := Fields{{"a", "G"}, {"b", "T"}, {"c", "D"}, {"d", "4"}, {"e", "0"}, {"f", "0"}, {"g", "0"}, {"h", "0"}, {k1, v1}, {k2, v2}, {k3, v3}}
		var h, again SendMessageRequest
		if err := h.DecodeFields(fields); err != nil {
			t.Fatalf("all that is required is there: %v", err)
		}
		var l list
		h.EncodeFields(&l)
		if err := again.DecodeFields(l.f); err != nil || again != h {
			t.Errorf("encoded and decoded: %+v, %v, want %+v", again, err, h)
		}
		if got, want := h.AppendJSON(nil), l.f.AppendJSON(nil); !bytes.Equal(got, want) {
			t.Errorf("JSON %s, of the pairs %s", got, want)
		}
	})
}

func TestJSONOfAHeaderIsThatOfItsPairs(t *testing.T) {
	for _, h := range []Encodable{
		&SendMessageResponse{}, &SendMessageResponse{MsgID: "id", QueueID: -1, QueueOffset: math.MaxInt64, TransactionID: "a\x01\"\\é\n"},
		&PullMessageResponse{NextBeginOffset: math.MinInt64, GroupSysFlag: Some[int32](0)},
		&UpdateAndCreateTopicRequest{Topic: "T", Order: true, TopicSysFlag: Some[int32](7)},
		&SendMessageRequest{UnitMode: Some(false), Batch: Some(true)},
		Fields{{"k\"", ""}, {"", "v"}},
		Fields(nil),
	} {
		var l list
		h.EncodeFields(&l)
		var want []byte
		for _, p := range l.f {
			want = AppendQuoted(append(AppendQuoted(append(want, ','), p.Key), ':'), p.Value)
		}
		if got := h.AppendJSON([]byte("x")); string(got) != "x"+string(want) {
			t.Errorf("%T: %s, want %s", h, got, want)
		}
	}
}

func TestFixedPairsAreEncodedAsPairs(t *testing.T) {
	f := Fields{{"MSG_REGION", "a\"b"}, {"TRACE_ON", "true"}}
	for _, fixed := range []*Fixed{nil, Fix(nil), Fix(f)} {
		want := f
		if fixed == nil || fixed.json == "" {
			want = nil
		}
		var l list
		fixed.EncodeFields(&l)
		if !slices.Equal(l.f, want) || string(fixed.AppendJSON(nil)) != string(want.AppendJSON(nil)) {
			t.Errorf("got %v, %s, want %v", l.f, fixed.AppendJSON(nil), want)
		}
	}
}

func TestAppendIntWritesWhatStrconvWrites(t *testing.T) {
	check := func(n int64) {
		if got, want := string(AppendInt([]byte("x"), n)), "x"+strconv.FormatInt(n, 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for n := range int64(20000) {
		check(n)
		check(n * 9999)
		check(n * 100_000_007)
		check(n*1_000_000_007_001 - 1)
	}
	for n := int64(1); n > 0 && n < math.MaxInt64/10; n *= 10 {
		for _, d := range []int64{-1, 0, 1} {
			check(n + d)
			check(-n + d)
		}
	}
	check(math.MaxInt64)
	check(math.MinInt64)
}

func FuzzAppendInt(f *testing.F) {
	f.Add(int64(12345678), "")
	f.Add(int64(-1), "a\x1f\"\\")
	f.Fuzz(func(t *testing.T, n int64, s string) {
		if got := string(AppendInt(nil, n)); got != strconv.FormatInt(n, 10) {
			t.Errorf("%d is written %s", n, got)
		}
		if m, ok := ParseInt(strconv.FormatInt(n, 10)); !ok || m != n {
			t.Errorf("%d is read as %d, %v", n, m, ok)
		}
		var back string
		if utf8.ValidString(s) {
			if err := json.Unmarshal(AppendQuoted(nil, s), &back); err != nil || back != s {
				t.Errorf("%q is quoted as %s, which reads %q, %v", s, AppendQuoted(nil, s), back, err)
			}
		}
	})
}
