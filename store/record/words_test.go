package record

import (
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// slowWords reads them with the cursor that everything else uses.
func slowWords(props string) Words {
	var w Words
	for c := Pairs([]byte(props)); c.Next(); {
		switch string(c.Name) {
		case PropUniqKey:
			w.Uniq = string(c.Value)
		case PropKeys:
			w.Keys = string(c.Value)
		case PropTags:
			w.Tags = string(c.Value)
		case PropDelay:
			w.Delay = string(c.Value)
		case PropMultiDispatch:
			w.Multi = true
		}
	}
	return w
}

func TestWordsAreWhatTheCursorFinds(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, props string) {
		got, want := ReadWords(props), slowWords(props)
		got.of = ""
		if got != want {
			t.Fatalf("%q: %+v, want %+v", props, got, want)
		}
	}
	for _, props := range []string{
		"", "\x01", "\x02", "\x01\x02", "TAGS", "TAGS\x01", "TAGS\x01\x02", "TAGS\x01a", "TAGS\x02TAGS\x01a\x02", "\x01a\x02TAGS\x01b", "TAGS\x01a\x01b\x02",
		"TAGS\x01a\x02TAGS\x01b\x02TAGS\x01\x02", "\x00TAGS\x01a\x02TAGS\x00\x01b\x02", "KEYS\x01 \x02UNIQ_KEY\x01u\x02DELAY\x013\x02INNER_MULTI_DISPATCH\x01x",
	} {
		check(t, props)
	}
	piece := rapid.SampledFrom([]string{PropTags, PropKeys, PropUniqKey, PropDelay, PropMultiDispatch, "WAIT", "a", "\x00", "\x01", "\x01", "\x01", "\x02", "\x02", "\x03", "标"})
	rapid.Check(t, func(t *rapid.T) {
		check(t, strings.Join(rapid.SliceOf(piece).Draw(t, "pieces"), ""))
	})
}

func TestFoundWordsHoldForTheirPropertiesOnly(t *testing.T) {
	const props = "TAGS\x01a\x02"
	m := Message{Properties: props, Found: Words{Tags: "found"}}
	if w := m.Words(); w.Tags != "a" {
		t.Errorf("words of nothing were taken: %+v", w)
	}
	m.Found.From(m.Properties)
	if w := m.Words(); w.Tags != "found" {
		t.Errorf("found words were not taken: %+v", w)
	}
	m.Properties = strings.Clone(props)
	if w := m.Words(); w.Tags != "a" {
		t.Errorf("words of other properties were taken: %+v", w)
	}
	buf := []byte(props + "KEYS\x01k\x02")
	m.Properties = unsafe.String(&buf[0], len(props))
	m.Found.From(m.Properties)
	if m.Properties = unsafe.String(&buf[0], len(buf)); m.Words().Keys != "k" {
		t.Error("words of a part were taken")
	}
	m = Message{Found: Words{Tags: "found"}}
	if w := m.Words(); w != (Words{}) {
		t.Errorf("words without properties: %+v", w)
	}
}

func BenchmarkReadWords(b *testing.B) {
	const props = "UNIQ_KEY\x017F0000010001532A1F0C1B2A3F4D0001\x02WAIT\x01true\x02TAGS\x01TagA\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02"
	b.ReportAllocs()
	for b.Loop() {
		if w := ReadWords(props); w.Tags != "TagA" {
			b.Fatal(w)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		_ = HashMore(12345, "7F0000010001532A1F0C1B2A3F4D0001")
	}
}
