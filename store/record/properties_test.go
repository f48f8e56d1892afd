package record

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPropertyRules(t *testing.T) {
	tests := []struct{ name, props, key, want string }{
		{"plain", "A\x011\x02B\x012\x02", "B", "2"},
		{"no closing separator", "A\x011\x02B\x012", "B", "2"},
		{"last duplicate wins", "A\x011\x02A\x012\x02", "A", "2"},
		{"an empty value does not count", "A\x011\x02A\x01\x02", "A", "1"},
		{"an empty name does not count", "\x01v\x02A\x011\x02", "", ""},
		{"a pair without separator does not count", "AB\x02A\x011\x02", "AB", ""},
		{"a value may hold the name separator", "A\x011\x012\x02", "A", "1\x012"},
		{"a name is not a prefix of another", "AB\x011\x02", "A", ""},
		{"a name inside a value is not one", "X\x01A\x019\x02", "A", ""},
		{"only separators", "\x02\x02\x01\x02", "A", ""},
		{"nothing", "", "A", ""},
	}
	for _, tt := range tests {
		if got := Property(tt.props, tt.key); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
		if got := PropertyBytes([]byte(tt.props), tt.key); string(got) != tt.want {
			t.Errorf("%s, bytes: %q", tt.name, got)
		}
	}
}

func TestDeleteProperty(t *testing.T) {
	tests := []struct{ name, props, key, want string }{
		{"absent", "A\x011\x02", "B", "A\x011\x02"},
		{"first", "A\x011\x02B\x012\x02", "A", "B\x012\x02"},
		{"every duplicate", "A\x011\x02B\x012\x02A\x013", "A", "B\x012\x02"},
		{"with an empty value", "A\x01\x02B\x012\x02", "A", "B\x012\x02"},
		{"not a longer name", "AA\x011\x02", "A", "AA\x011\x02"},
		{"not in a value", "B\x01A\x011\x02", "A", "B\x01A\x011\x02"},
	}
	for _, tt := range tests {
		if got := DeleteProperty(tt.props, tt.key); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestSetProperty(t *testing.T) {
	if got := string(SetProperty([]byte("head"), "A\x011\x02B\x012", "A", "9")); got != "headB\x012\x02A\x019\x02" {
		t.Errorf("%q", got)
	}
	if got := string(SetProperty([]byte("head"), "", "A", "9")); got != "headA\x019\x02" {
		t.Errorf("%q", got)
	}
}

// model reads properties as the specification words it.
func model(props string) map[string]string {
	m := map[string]string{}
	for _, piece := range strings.Split(props, "\x02") {
		i := strings.IndexByte(piece, 1)
		if i > 0 && i < len(piece)-1 && len(piece) >= 3 {
			m[piece[:i]] = piece[i+1:]
		}
	}
	return m
}

func checkProps(t interface{ Fatalf(string, ...any) }, props, key, value string) {
	want := model(props)
	got := map[string]string{}
	for c := Pairs([]byte(props)); c.Next(); {
		got[string(c.Name)] = string(c.Value)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("%q: got %q want %q", props, got, want)
	}
	for k, v := range want {
		if Property(props, k) != v {
			t.Fatalf("%q: %q is %q, want %q", props, k, Property(props, k), v)
		}
	}
	delete(want, key)
	if got := model(DeleteProperty(props, key)); !maps.Equal(got, want) {
		t.Fatalf("%q without %q: got %q want %q", props, key, got, want)
	}
	want[key] = value
	if got := model(string(SetProperty(nil, props, key, value))); !maps.Equal(got, want) {
		t.Fatalf("%q with %q=%q: got %q want %q", props, key, value, got, want)
	}
}

func TestPropertiesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		props := rapid.StringOf(rapid.RuneFrom([]rune("AB\x01\x02é"))).Draw(t, "props")
		checkProps(t, props, rapid.SampledFrom([]string{"A", "B", "AB"}).Draw(t, "key"), "v")
	})
}

func FuzzProperties(f *testing.F) {
	f.Add("A\x011\x02B\x012", "A")
	f.Add("UNIQ_KEY\x017F00\x02WAIT\x01true\x02\x01\x02\x02", "WAIT")
	f.Fuzz(func(t *testing.T, props, key string) {
		if key == "" || strings.ContainsAny(key, "\x01\x02") {
			key = "K"
		}
		checkProps(t, props, key, "v")
	})
}

// TestPropertyAgreesWithAWalk compares the search for a name with going from pair to pair.
func TestPropertyAgreesWithAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		props := []byte(rapid.StringOf(rapid.RuneFrom([]rune("AB\x01\x01\x02\x02é"))).Draw(t, "props"))
		name := rapid.StringOf(rapid.RuneFrom([]rune("ABé"))).Draw(t, "name")
		var want []byte
		for c := Pairs(props); c.Next(); {
			if string(c.Name) == name {
				want = c.Value
			}
		}
		if got := PropertyBytes(props, name); string(got) != string(want) {
			t.Fatalf("%q in %q: %q, want %q", name, props, got, want)
		}
	})
}
