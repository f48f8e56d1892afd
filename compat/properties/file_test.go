package properties

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// quoteJava writes a string as testdata/Load.java.txt does.
func quoteJava(s string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		if c >= ' ' && c < 127 {
			b.WriteByte(byte(c))
		} else {
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

func TestParseAgreesWithJava(t *testing.T) {
	for _, name := range []string{"syntax", "latin1"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name + ".properties")
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile("testdata/" + name + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse(name, text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range f.Entries() {
				got = append(got, quoteJava(e.Key)+"\t"+quoteJava(e.Value))
			}
			slices.Sort(got)
			lines := strings.Split(strings.TrimSuffix(string(want), "\n"), "\n")
			for i := range max(len(got), len(lines)) {
				var g, w string
				if i < len(got) {
					g = got[i]
				}
				if i < len(lines) {
					w = lines[i]
				}
				if g != w {
					t.Fatalf("line %d of %d:\n got %q\nwant %q", i, len(lines), g, w)
				}
			}
		})
	}
}

func TestParseLines(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		key, value string
		line       int
	}{
		{"first line", "a=1", "a", "1", 1},
		{"after comments and blanks", "#x\n\n   \n!y\na=1", "a", "1", 5},
		{"the key's line counts, not the last of a continuation", "x=1\na=1,\\\n2,\\\n3\n", "a", "1,2,3", 2},
		{"CR LF counts once", "x=1\r\na=1\r\n", "a", "1", 2},
		{"the last of several wins, with its line", "a=0\nb=2\na=1\n", "a", "1", 3},
		{"UTF-8 text", "a=注册中心", "a", "注册中心", 1},
		{"byte order mark", "\ufeffa=1", "a", "1", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse("x.conf", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			e, ok := f.Lookup(tc.key)
			want := Entry{Key: tc.key, Value: tc.value, Origin: "x.conf", Line: tc.line}
			if !ok || e != want {
				t.Fatalf("got %+v (%v), want %+v", e, ok, want)
			}
		})
	}
}

func TestParseRefusesBrokenEscapes(t *testing.T) {
	for _, text := range []string{`a=\u12`, `a=\u12G4`, `a=\u`, `\uZZZZ=1`, "x=1\na=\\u+123"} {
		_, err := Parse("x.conf", []byte(text))
		if err == nil {
			t.Errorf("%q was read", text)
			continue
		}
		if want := fmt.Sprintf("x.conf:%d: ", strings.Count(text, "\n")+1); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %q does not start with %q", text, err, want)
		}
	}
}

func TestMergeKeepsOrigins(t *testing.T) {
	low, high := New("low"), New("high")
	low.Set("a", "1")
	low.Set("b", "1")
	high.Set("b", "2")
	m := Merge("all", low, nil, high)
	if got := fmt.Sprint(m.Entries()); got != "[{a 1 low 0} {b 2 high 0}]" {
		t.Fatal(got)
	}
	if v, _ := low.Get("b"); v != "1" {
		t.Fatal("Merge changed its source")
	}
}

func TestFormatIsReadBack(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(
		rapid.RuneFrom([]rune(" \t\f\r\n\\=:#!ua0Aé中😀")), rapid.Rune()))
	rapid.Check(t, func(t *rapid.T) {
		f := New("")
		for k, v := range rapid.MapOf(text, text).Draw(t, "settings") {
			f.Set(strings.ToValidUTF8(k, ""), strings.ToValidUTF8(v, ""))
		}
		back, err := Parse("back", f.Format())
		if err != nil {
			t.Fatal(err)
		}
		if back.Len() != f.Len() {
			t.Fatalf("%d keys came back of %d", back.Len(), f.Len())
		}
		for _, e := range f.Entries() {
			if v, ok := back.Get(e.Key); !ok || v != e.Value {
				t.Fatalf("%q=%q came back as %q (%v)", e.Key, e.Value, v, ok)
			}
		}
	})
}

func TestFormatLeavesOrdinaryValuesAlone(t *testing.T) {
	f := New("")
	f.Set("namesrvAddr", "127.0.0.1:9876;127.0.0.2:9876")
	f.Set("messageDelayLevel", "1s 5s 10s")
	f.Set("metricsLabel", "a:b,c:d=e")
	want := "messageDelayLevel=1s 5s 10s\nmetricsLabel=a:b,c:d=e\nnamesrvAddr=127.0.0.1:9876;127.0.0.2:9876\n"
	if got := string(f.Format()); got != want {
		t.Fatalf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/syntax.properties", "testdata/latin1.properties"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a=\\\n\\\r\n\\"))
	f.Add([]byte("\xff\\u00e9=\\ud83d\\u0041"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := Parse("fuzz", text)
		if err != nil {
			return
		}
		back, err := Parse("back", parsed.Format())
		if err != nil {
			t.Fatalf("own output: %v", err)
		}
		for _, e := range parsed.Entries() {
			if e.Line < 1 || e.Line > 1+strings.Count(string(text), "\n")+strings.Count(string(text), "\r") {
				t.Fatalf("%+v lies outside the text", e)
			}
			if v, ok := back.Get(e.Key); !ok || v != e.Value {
				t.Fatalf("%q=%q came back as %q (%v)", e.Key, e.Value, v, ok)
			}
		}
	})
}
