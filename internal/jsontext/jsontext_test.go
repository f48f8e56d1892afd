package jsontext

import (
	"encoding/json"
	"testing"
)

func TestAppendEscape(t *testing.T) {
	var needed []byte
	for c := range byte(' ') {
		needed = append(needed, c)
	}
	for _, c := range append(needed, '"', '\\') {
		text := append(AppendEscape([]byte{'"'}, c), '"')
		var got string
		if err := json.Unmarshal(text, &got); err != nil || got != string(rune(c)) {
			t.Errorf("%q becomes %s, which reads %q, %v", c, text, got, err)
		}
	}
	for c, want := range map[byte]string{'\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`, 0: `\u0000`, 0x1f: `\u001f`} {
		if got := string(AppendEscape(nil, c)); got != want {
			t.Errorf("%q: %s, want %s", c, got, want)
		}
	}
}
