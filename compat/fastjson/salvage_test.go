package fastjson

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestSalvage(t *testing.T) {
	type file struct {
		Version struct{ Counter int }       `json:"version"`
		Table   map[string]map[string]int64 `json:"table"`
	}
	whole := `{"version":{"counter":3},"table":{"a@g":{0:5,1:7},"b@g":{0:1},"c,}\"@g":{0:9}}}`
	for _, c := range []struct {
		name, text string
		keys       string
		lastA      int64
	}{
		{"whole", whole, `a@g b@g c,}"@g`, 7},
		{"its last bracket is missing", whole[:len(whole)-1], `a@g b@g c,}"@g`, 7},
		{"cut off in a name", whole[:strings.Index(whole, `,}\"`)], "a@g b@g", 7},
		{"cut off in an entry", whole[:strings.Index(whole, "1:7")], "a@g", 0},
		{"zeros behind", whole[:strings.Index(whole, `"c,`)] + strings.Repeat("\x00", 100), "a@g b@g", 7},
		{"a flipped bit in the middle", strings.Replace(whole, `"b@g":`, `"b@g"z`, 1), "a@g", 7},
		{"an old end", whole + `"old":{0:1}}`, `a@g b@g c,}"@g`, 7},
		{"nothing", "{", "-", 0},
		{"no text", "\x00\x01", "-", 0},
		{"brackets", "]]}{", "-", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got file
			err := Salvage([]byte(c.text), func(b []byte) error {
				var f file
				if err := Unmarshal(b, &f); err != nil {
					return err
				}
				got = f
				return nil
			})
			keys := "-"
			if err == nil {
				keys = strings.Join(slices.Sorted(maps.Keys(got.Table)), " ")
			}
			if keys != c.keys || got.Table["a@g"]["1"] != c.lastA {
				t.Errorf("salvaged %q %v, want %q", keys, got.Table, c.keys)
			}
		})
	}
}

func FuzzSalvage(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c,\"}"}],"d":{}}`), 12)
	f.Add([]byte("}{][\"\\"), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		last := -1
		err := Salvage(text, func(b []byte) error {
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				return err
			}
			if len(b) < last {
				t.Fatalf("it took %d bytes and then %d", last, len(b))
			}
			last = len(b)
			return nil
		})
		if (err == nil) != (last >= 0) {
			t.Fatal(err, last)
		}
		// A cut through a good text costs what is behind it and no more.
		var object map[string]any
		if json.Unmarshal(text, &object) != nil || len(object) == 0 || cut < 0 || cut >= len(text) {
			return
		}
		if Salvage(text[:cut], func(b []byte) error { return json.Unmarshal(b, &object) }) == nil && len(object) == 0 {
			t.Fatal("salvaged nothing without an error")
		}
	})
}
