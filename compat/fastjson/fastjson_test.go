package fastjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalize(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"standard text stays", `{"a":[1,-2.5e3,true,false,null,"x"],"b":{}}`, `{"a":[1,-2.5e3,true,false,null,"x"],"b":{}}`},
		{"blanks go", " {\r\n\t\"a\" : [ 1 , 2 ] }\n", `{"a":[1,2]}`},
		{"bare integer keys are quoted", `{0:5,1:{-7:"x"}}`, `{"0":5,"1":{"-7":"x"}}`},
		{"an object key becomes its text", `{{"brokerName":"b-0","queueId":3,"topic":"T1"}:42}`, `{"{\"brokerName\":\"b-0\",\"queueId\":3,\"topic\":\"T1\"}":42}`},
		{"two object keys", `{{"a":1}:1,{"a":2}:2}`, `{"{\"a\":1}":1,"{\"a\":2}":2}`},
		{"words as keys", `{topic:"x",$a_1:2,null:3}`, `{"topic":"x","$a_1":2,"null":3}`},
		{"single quotes", `{'a':'it"s \'x\''}`, `{"a":"it\"s 'x'"}`},
		{"superfluous commas", `{,"a":1,,"b":[1,,2,],}`, `{"a":1,"b":[1,2]}`},
		{"comments", "{/* c */\"a\"://x\n1}", `{"a":1}`},
		{"raw control characters", "[\"a\tb\x01\"]", `["a\tb\u0001"]`},
		{"Java escapes", `["\x41\v\3\/\u00e9"]`, `["\u0041\u000b\u0003\/\u00e9"]`},
		{"type suffixes", `[1L,2.5D,+3]`, `[1,2.5,3]`},
		{"no numbers", `[NaN,undefined]`, `[null,null]`},
		{"a reference to a bean", `{"dataVersion":{"counter":1},"mappingDataVersion":{"$ref":"$.dataVersion"}}`, `{"dataVersion":{"counter":1},"mappingDataVersion":{"counter":1}}`},
		{"a reference into a list", `{"l":[{"a":1},{"$ref":"$.l[0]"}]}`, `{"l":[{"a":1},{"a":1}]}`},
		{"a reference through a name with escapes", `{"t":{"T@G":{0:1}},"u":{"$ref":"$.t.T\\@G"}}`, `{"t":{"T@G":{"0":1}},"u":{"0":1}}`},
		{"a reference within a reference", `{"a":{"x":1},"b":{"y":{"$ref":"$.a"}},"c":{"$ref":"$.b"}}`, `{"a":{"x":1},"b":{"y":{"x":1}},"c":{"y":{"x":1}}}`},
		{"a reference to nothing", `{"a":{"$ref":"$.zzz"}}`, `{"a":null}`},
		{"a reference to an ancestor", `{"a":{"b":{"$ref":"$.a"},"c":{"$ref":".."},"d":{"$ref":"@"},"e":{"$ref":"$"}}}`, `{"a":{"b":null,"c":null,"d":null,"e":null}}`},
		{"references in a circle", `{"a":{"x":{"$ref":"$.b"}},"b":{"x":{"$ref":"$.a"}}}`, ""},
		{"a reference as a key is only text", `{{"$ref":"$.mqPopTable.null"}:1}`, `{"{\"$ref\":\"$.mqPopTable.null\"}":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Normalize([]byte("head"), []byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			got, _ = bytes.CutPrefix(got, []byte("head"))
			if !json.Valid(got) {
				t.Errorf("not standard: %s", got)
			}
			if tt.want != "" && string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestNormalizeErrors(t *testing.T) {
	tests := []struct {
		name, in string
		offset   int
	}{
		{"empty", "", 0},
		{"blank", "  ", 2},
		{"text after the value", `{} x`, 3},
		{"no colon", `{"a" 1}`, 5},
		{"no comma in an object", `{"a":1 "b":2}`, 7},
		{"no comma in a list", `[1 2]`, 3},
		{"wrong bracket", `{"a":1]`, 6},
		{"open object", `{"a":1`, 6},
		{"open string", `["abc`, 1},
		{"bad escape", `["\q"]`, 2},
		{"bad unicode escape", `["\u12g4"]`, 2},
		{"bad hex escape", `["\xg1"]`, 2},
		{"bad number", `[01]`, 1},
		{"lone minus", `[-]`, 1},
		{"unknown word", `[nul]`, 1},
		{"open comment", `[1/*`, 2},
		{"lone slash", `[/]`, 1},
		{"NUL", "\x00", 0},
		{"a list as a key", `{[1]:2}`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := Normalize(nil, []byte(tt.in))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %s, %v", out, err)
			}
			if syntax.Offset != tt.offset {
				t.Errorf("%v; want it at %d", err, tt.offset)
			}
		})
	}
}

func TestDepthAndSizeAreBounded(t *testing.T) {
	for _, open := range []string{"[", `{"a":`, `{0:`, `{{"a":`} {
		deep := strings.Repeat(open, 100_000)
		if _, err := Normalize(nil, []byte(deep)); err == nil {
			t.Errorf("%.8s... nested 100000 times was read", open)
		}
	}
	// Each level refers to the one before it twice: 2^40 objects if it were all written out.
	var bomb strings.Builder
	bomb.WriteString(`{"a0":{"x":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`)
	for i := range 40 {
		n := string([]byte{byte('0' + i/10), byte('0' + i%10)})
		p := string([]byte{byte('0' + (i-1)/10), byte('0' + (i-1)%10)})
		if i == 0 {
			p = "0"
			bomb.WriteString(`,"b00":[{"$ref":"$.a0"}]`)
			continue
		}
		bomb.WriteString(`,"b` + n + `":[` + strings.Repeat(`{"$ref":"$.b`+p+`"},`, 40) + `1]`)
	}
	bomb.WriteString("}")
	if _, err := Normalize(nil, []byte(bomb.String())); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a bomb of references: %v", err)
	}
}

type key struct {
	BrokerName string `json:"brokerName"`
	QueueID    int32  `json:"queueId"`
}

func (k *key) UnmarshalText(b []byte) error {
	type plain key
	return Unmarshal(b, (*plain)(k))
}

type sample struct {
	Zeta     string           `json:"zeta"`
	Alpha    map[int32]int64  `json:"alpha"`
	Offsets  map[key]int64    `json:"offsets"`
	Rate     float64          `json:"rate"`
	Null     string           `json:"null,omitempty"`
	Names    []string         `json:"names"`
	Pointer  *int64           `json:"pointer"`
	Hidden   int              `json:"-"`
	Nested   map[string]inner `json:"nested"`
	Any      any              `json:"any"`
	Bytes    []byte           `json:"bytes"`
	Raw      json.RawMessage  `json:"raw"`
	OnlyHere bool             `json:"onlyHere"`
	Sure     []int32          `json:"sure" fastjson:"nonnull"`
	SureMap  map[string]int32 `json:"sureMap" fastjson:"nonnull"`
	inner
}

type inner struct {
	Big int64 `json:"big"`
}

func TestMarshal(t *testing.T) {
	s := sample{
		Zeta: "a\"\\\n\x01/<é😀\u2028\xff", Alpha: map[int32]int64{10: 1, 9: 2, -1: 3},
		Offsets: map[key]int64{{"b", 2}: 1, {"b", 1}: 2}, Rate: 1, Names: []string{},
		Nested: map[string]inner{"k": {1 << 60}}, Any: []any{1, "x", nil}, Bytes: []byte{1, 2}, Raw: json.RawMessage(`{"q":[]}`), inner: inner{1 << 53},
	}
	const text = "\"a\\\"\\\\\\n\\u0001/<é😀\u2028\uFFFD\""
	want := `{"alpha":{-1:3,9:2,10:1},"any":[1,"x",null],"big":9007199254740992,"bytes":"AQI=","names":[],"nested":{"k":{"big":1152921504606846976}},` +
		`"offsets":{{"brokerName":"b","queueId":1}:2,{"brokerName":"b","queueId":2}:1},"onlyHere":false,"rate":1.0,"raw":{"q":[]},"sure":[],"sureMap":{},"zeta":` + text + `}`
	if got := string(Marshal(&s)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	std := `{"alpha":{"-1":3,"9":2,"10":1},"any":[1,"x",null],"big":"9007199254740992","bytes":"AQI=","names":[],"nested":{"k":{"big":"1152921504606846976"}},` +
		`"offsets":{"{\"brokerName\":\"b\",\"queueId\":1}":2,"{\"brokerName\":\"b\",\"queueId\":2}":1},"onlyHere":false,"rate":1.0,"raw":{"q":[]},"sure":[],"sureMap":{},"zeta":` + text + `}`
	if got := string(MarshalStandard(&s)); got != std || !json.Valid([]byte(got)) {
		t.Errorf("got  %s\nwant %s", got, std)
	}

	var back sample
	if err := Unmarshal(Marshal(&s), &back); err != nil {
		t.Fatal(err)
	}
	s.Zeta = strings.ToValidUTF8(s.Zeta, "\uFFFD")
	s.Any = []any{1.0, "x", nil}
	s.Sure, s.SureMap = []int32{}, map[string]int32{}
	if !reflect.DeepEqual(back, s) {
		t.Errorf("read back %+v\nwant %+v", back, s)
	}
	if got := string(Marshal((*sample)(nil))); got != "null" {
		t.Errorf("nil: %s", got)
	}
}

// The right-hand sides are what fastjson 2.0.59 wrote for these doubles.
func TestDoubles(t *testing.T) {
	for d, want := range map[float64]string{
		0: "0.0", 1: "1.0", -1: "-1.0", 0.1: "0.1", 1.5: "1.5", 100: "100.0", 1e6: "1000000.0", 9999999: "9999999.0", 1e7: "1.0E7", 1.2e7: "1.2E7",
		123456789.125: "1.23456789125E8", 1e-3: "0.001", 1e-4: "1.0E-4", 9.999e-4: "9.999E-4", 1e21: "1.0E21", 1e100: "1.0E100",
		math.MaxFloat64: "1.7976931348623157E308", 1.0 / 3: "0.3333333333333333", 12345678.9: "1.23456789E7", math.Inf(1): "null",
	} {
		if got := string(appendDouble(nil, d)); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	if got := string(appendDouble(nil, math.NaN())); got != "null" {
		t.Errorf("NaN: %s", got)
	}
}

// Laying out again what a Java file says must give the file back, byte for byte.
func TestPrettyGivesJavaFilesBack(t *testing.T) {
	files, err := filepath.Glob("testdata/f2_*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.Contains(file, ".compact.") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			compact := bytes.NewBuffer(nil)
			for line := range bytes.Lines(want) {
				compact.Write(bytes.Trim(line, "\t\n"))
			}
			if got := Pretty(nil, compact.Bytes()); !bytes.Equal(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
			if _, err := Normalize(nil, want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrettyShapes(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                                "{}",
		`{"a":[],"b":{}}`:                   "{\n\t\"a\":[],\n\t\"b\":{}\n}",
		`{"o":[1,2]}`:                       "{\n\t\"o\":[1,2]\n}",
		`{"l":[{"a":1},{}]}`:                "{\n\t\"l\":[\n\t\t{\n\t\t\t\"a\":1\n\t\t},\n\t\t{}\n\t]\n}",
		`{{"a":1,"b":"x,:}"}:{0:"y"}}`:      "{\n\t{\"a\":1,\"b\":\"x,:}\"}:{\n\t\t0:\"y\"\n\t}\n}",
		`{"l":["a\"]","b"],"n":null,"t":1}`: "{\n\t\"l\":[\n\t\t\"a\\\"]\",\n\t\t\"b\"\n\t],\n\t\"n\":null,\n\t\"t\":1\n}",
	} {
		if got := string(Pretty(nil, []byte(in))); got != want {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", in, got, want)
		}
	}
}

func TestUnmarshalKeeping(t *testing.T) {
	type known struct {
		Name string `json:"name"`
		inner
		Extras Extras
	}
	var k known
	extras, err := UnmarshalKeeping([]byte(` { "later" : {"a" : [1, "x,}"]} , "name":"n","big":7, "aa":"\"", "z": null } `), &k)
	if err != nil {
		t.Fatal(err)
	}
	k.Extras = extras
	if got, want := string(Marshal(&k)), `{"aa":"\"","big":7,"later":{"a":[1,"x,}"]},"name":"n","z":null}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := UnmarshalKeeping([]byte(`{"name":"a\E"}`), &k); err == nil {
		t.Error("an unknown escape was read")
	}
	if extras, err := UnmarshalKeeping([]byte(`{"Name":"x","name":"n"}`), &k); string(extras["Name"]) != `"x"` || k.Name != "n" || err != nil {
		t.Errorf("name in another case: %v, %q, %v", extras, k.Name, err)
	}
	if extras, err := UnmarshalKeeping([]byte(`{"name":"n"}`), &k); extras != nil || err != nil {
		t.Errorf("%v, %v", extras, err)
	}
}

type color string

func (color) Names() []string { return []string{"RED", "GREEN"} }

func TestConversions(t *testing.T) {
	type bean struct {
		Long   int64            `json:"long"`
		Int    int32            `json:"int"`
		Text   string           `json:"text"`
		Flag   bool             `json:"flag"`
		Rate   float64          `json:"rate"`
		Color  color            `json:"color"`
		List   []int32          `json:"list"`
		Map    map[int32]string `json:"map"`
		Queues map[key]int64    `json:"queues"`
		Sub    *inner           `json:"sub"`
	}
	in := `{"long":"1700000000000","int":5.0,"text":12,"flag":"true","rate":"1.5","color":1,"list":["1", 2 ],"map":{"1":2},` +
		`"queues":{"{\"brokerName\":\"b\",\"queueId\":\"3\"}":"4"},"sub":{"big":"7"},"unknown":{"a":[1]}}`
	want := bean{1700000000000, 5, "12", true, 1.5, "GREEN", []int32{1, 2}, map[int32]string{1: "2"}, map[key]int64{{"b", 3}: 4}, &inner{7}}
	var got bean
	if err := Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, bad := range []string{`{"int":"x"}`, `{"int":99999999999}`, `{"long":1e30}`, `{"list":5}`, `{"map":[]}`, `{"sub":1}`, `{"rate":"x"}`, `[]`} {
		if err := Unmarshal([]byte(bad), &bean{}); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	if err := Unmarshal([]byte(`{}`), bean{}); err == nil {
		t.Error("a target that is no pointer was taken")
	}
}

func FuzzReader(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 300)]) // longer seeds keep the fuzzer busy with shortening them
	}
	for _, s := range []string{
		`{{"a":1}:{0:"x"}}`, `{"a":{"$ref":"$.b[0].c"},"b":[{"c":1}]}`, `['\x41',NaN,+1L,/*c*/.5]`, `{"a":1,}`, `"\ud800"`, `1e999`, "[\"\xff\"]",
		`{"a":0,"a":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		std, err := Normalize(nil, data)
		if err == nil && !json.Valid(std) {
			t.Fatalf("%q became %q, which is not standard", data, std)
		}
		var got any
		readErr := Unmarshal(data, &got)
		if err == nil {
			Pretty(nil, std)
		}
		if !json.Valid(data) || !utf8.Valid(data) || bytes.Contains(data, []byte("$ref")) {
			return
		}
		var want any
		if json.Unmarshal(data, &want) != nil {
			return // a number out of range
		}
		if readErr != nil {
			if deeperThan(data, MaxDepth) {
				return
			}
			t.Fatalf("%q: %v", data, readErr)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %#v, want %#v", data, got, want)
		}
		if err != nil {
			if deeperThan(data, MaxDepth) {
				return
			}
			t.Fatalf("%q: %v", data, err)
		}
		var norm any
		if err := json.Unmarshal(std, &norm); err != nil || !reflect.DeepEqual(norm, want) {
			t.Fatalf("%q became %q: %#v, want %#v", data, std, norm, want)
		}
	})
}

func deeperThan(data []byte, limit int) bool {
	return bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > limit
}

// FuzzObject compares the decoding into a struct, by way of extras and object keys.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"zeta":"x","alpha":{"1":2},"offsets":{{"brokerName":"b","queueId":1}:5},"any":{"a":[1]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		if Unmarshal(data, &s) != nil {
			return
		}
		text := Marshal(&s)
		var again sample
		if err := Unmarshal(text, &again); err != nil {
			t.Fatalf("%q became %q: %v", data, text, err)
		}
		if got := Marshal(&again); !bytes.Equal(got, text) {
			t.Fatalf("%q became %q, then %q", data, text, got)
		}
		if !json.Valid(MarshalStandard(&s)) {
			t.Fatalf("%q became %q", data, MarshalStandard(&s))
		}
	})
}

// View gives what Unmarshal gives, whatever it is that the text has against standard JSON, and shares its strings.
func TestView(t *testing.T) {
	type inner struct{ Name string }
	type bean struct {
		Name  string  `json:"name"`
		N     int64   `json:"n"`
		Items []inner `json:"items"`
	}
	for _, text := range []string{
		`{"name":"x","n":7,"items":[{"Name":"a"},{"Name":"b\n"}]}`,
		`{"name":"x","n":"7"}`,
		`{name:"x",n:7}`,
		`{"items":[{"Name":"a"},{"$ref":"$.items[0]"}]}`,
		`{"items":null}`,
		`{}`, `[]`, `{`, ``,
	} {
		var want, got bean
		wantErr, err := Unmarshal([]byte(text), &want), View([]byte(text), &got)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v, %v", text, got, err, want, wantErr)
		}
	}
	frame := []byte(`{"name":"abc"}`)
	var b bean
	if err := View(frame, &b); err != nil {
		t.Fatal(err)
	}
	copy(frame[9:], "xyz")
	if b.Name != "xyz" {
		t.Errorf("name %q was copied", b.Name)
	}
}
