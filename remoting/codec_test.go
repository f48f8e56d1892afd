package remoting

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"apogee/internal/testkit"
	"apogee/remoting/header"
)

// frameHex writes a frame as the spec does.
func frameHex(t *testing.T, ser Serialization, h *head, body string) string {
	t.Helper()
	var w frameWriter
	if err := w.frame(ser, h, []byte(body), 0); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(w.buf)
}

func TestAnswersAreByteForByteJavas(t *testing.T) {
	for name, tc := range map[string]struct {
		ser  Serialization
		head head
		body string
		want string // JSON answers: the header's text
	}{
		"no remark, no header": {
			head: head{code: 17, opaque: 3, flag: 1},
			want: `{"code":17,"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":513}`,
		},
		"a header without values is an empty map": {
			head: head{fields: &header.SendMessageRequest{}, flag: 1},
			want: `{"code":0,"extFields":{"producerGroup":"","topic":"","defaultTopic":"","defaultTopicQueueNums":"0","queueId":"0","sysFlag":"0","bornTimestamp":"0","flag":"0"},"flag":1,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":513}`,
		},
		"typed header, then extra pairs": {
			head: head{opaque: -1, flag: 1, fields: &header.PullMessageResponse{NextBeginOffset: 9, GroupSysFlag: header.Some[int32](0)}, extra: header.Fields{{Key: "TRACE_ON", Value: "true"}}},
			want: `{"code":0,"extFields":{"suggestWhichBrokerId":"0","nextBeginOffset":"9","minOffset":"0","maxOffset":"0","groupSysFlag":"0","TRACE_ON":"true"},"flag":1,"language":"JAVA","opaque":-1,"serializeTypeCurrentRPC":"JSON","version":513}`,
		},
		"escapes of fastjson": {
			head: head{remark: "\x00\x01\x02\b\t\n\f\r\x1f \"\\/<é€😀\x7f"},
			want: `{"code":0,"flag":0,"language":"JAVA","opaque":0,"remark":"\u0000\u0001\u0002\b\t\n\f\r\u001f \"\\/<é€😀` + "\x7f" + `","serializeTypeCurrentRPC":"JSON","version":513}`,
		},
		"body": {
			head: head{code: 1},
			body: "xyz",
			want: `{"code":1,"flag":0,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":513}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := frameHex(t, JSON, &tc.head, tc.body), hex.EncodeToString(jsonFrame(tc.want, tc.body)); got != want {
				text, _ := hex.DecodeString(got)
				t.Errorf("got  %q\nwant %q", text[8:], tc.want+tc.body)
			}
		})
	}
}

// The request of the spec's example (remoting.md 2.4).
const routeRequestHex = "00000026" + "01000022" + "0069" + "00" + "0201" + "00000007" + "00000000" + "00000000" + "0000000d" +
	"0005" + "746f706963" + "00000002" + "5431"

func TestBinaryFrames(t *testing.T) {
	h := head{code: 105, opaque: 7, fields: &header.GetRouteInfoByTopicRequest{Topic: "T1"}}
	if got := frameHex(t, RocketMQ, &h, ""); got != routeRequestHex {
		t.Errorf("got  %s\nwant %s", got, routeRequestHex)
	}
	h = head{code: 1, opaque: 2, flag: 1, remark: "no", fields: header.Fields{{Key: "n", Value: ""}}, extra: header.Fields{{Key: "k", Value: "v"}}}
	want := "0000002d" + "01000026" + "0001" + "00" + "0201" + "00000002" + "00000001" + "00000002" + "6e6f" + "0000000f" +
		"0001" + "6e" + "00000000" + "0001" + "6b" + "00000001" + "76" + hex.EncodeToString([]byte("xyz"))
	if got := frameHex(t, RocketMQ, &h, "xyz"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var e frameWriter
	p := (*binaryPairs)(&e)
	p.Int("i", -12)
	p.Bool("t", true)
	p.Bool("f", false)
	p.String(strings.Repeat("k", 1<<15), "too long a key has no length field")
	if got, want := hex.EncodeToString(e.buf), "000169000000032d3132"+"0001740000000474727565"+"0001660000000566616c7365"; got != want {
		t.Errorf("pairs are %s, want %s", got, want)
	}
}

func TestDecodeBinary(t *testing.T) {
	frame, _ := hex.DecodeString(routeRequestHex)
	var r Request
	ser, err := decodeFrame(frame, &r)
	if err != nil {
		t.Fatal(err)
	}
	topic, _ := r.Fields.Get("topic")
	if ser != RocketMQ || r.Code != 105 || r.Language != Java || r.Version != 513 || r.Opaque != 7 || topic != "T1" || len(r.Body) != 0 {
		t.Errorf("got %v %+v", ser, r)
	}
}

func TestCodesBeyond16BitsAreUnwrapped(t *testing.T) {
	for sent, want := range map[int32]int32{200050: 200050, 200056: 200056, 200071: 200071, 200151: 200151, 3441: 3441, 3544: 3544, 32767: 32767, -5: -5} {
		var w frameWriter
		if err := w.frame(RocketMQ, &head{code: sent}, nil, 0); err != nil {
			t.Fatal(err)
		}
		var r Request
		if _, err := decodeFrame(w.buf, &r); err != nil || r.Code != want {
			t.Errorf("code %d arrives as %d, %v", sent, r.Code, err)
		}
	}
	var w frameWriter
	if err := w.frame(RocketMQ, &head{code: 3442, flag: flagResponse}, nil, 0); err != nil {
		t.Fatal(err)
	}
	var r Request
	if _, err := decodeFrame(w.buf, &r); err != nil || r.Code != 3442 {
		t.Errorf("an answer's code 3442 arrives as %d, %v", r.Code, err)
	}
}

func TestBinaryHeadersThatClose(t *testing.T) {
	fixed := "0069" + "00" + "0201" + "00000007" + "00000000"
	for name, text := range map[string]string{
		"empty":                     "",
		"shorter than the fixed":    fixed + "00000000" + "000000",
		"remark beyond the header":  fixed + "00000001" + "00000000",
		"negative remark":           fixed + "ffffffff" + "00000000",
		"extFields beyond it":       fixed + "00000000" + "00000001",
		"negative extFields":        fixed + "00000000" + "ffffffff",
		"half a key length":         fixed + "00000000" + "00000001" + "00",
		"key beyond extFields":      fixed + "00000000" + "00000003" + "000261",
		"negative key":              fixed + "00000000" + "00000003" + "ffff61",
		"no value length":           fixed + "00000000" + "00000003" + "000161",
		"value beyond extFields":    fixed + "00000000" + "00000008" + "000161" + "00000002" + "62",
		"negative value":            fixed + "00000000" + "00000008" + "000161" + "ffffffff" + "62",
		"the largest of all values": fixed + "00000000" + "00000008" + "000161" + "7fffffff" + "62",
	} {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := decodeBinary(b, new(Request)); !errors.Is(err, ErrBadFrame) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEmptyBinaryKeysAndValuesAreAbsent(t *testing.T) {
	pairs := "0000" + "00000001" + "61" + "0001" + "62" + "00000000" + "0001" + "63" + "00000001" + "64"
	b, _ := hex.DecodeString("0069" + "0d" + "0201" + "00000007" + "00000002" + "00000000" + "00000016" + pairs)
	var r Request
	if err := decodeBinary(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Fields) != 1 || r.Fields[0] != (header.Pair{Key: "c", Value: "d"}) || r.Language != NodeJS || !r.Oneway() {
		t.Errorf("got %+v", r)
	}
}

func TestJSONHeadersThatJavaTakes(t *testing.T) {
	ext := func(kv ...string) (f header.Fields) {
		for i := 0; i < len(kv); i += 2 {
			f = append(f, header.Pair{Key: kv[i], Value: kv[i+1]})
		}
		return f
	}
	for name, tc := range map[string]struct {
		text string
		want Request
	}{
		"empty":                   {`{}`, Request{}},
		"Go client":               {`{"code":105,"language":"GO","version":317,"opaque":1,"flag":0,"remark":"","extFields":{"topic":"T1"}}`, Request{Code: 105, Language: Go, Version: 317, Opaque: 1, Fields: ext("topic", "T1")}},
		"Java client":             {`{"code":34,"extFields":{},"flag":0,"language":"JAVA","opaque":2,"serializeTypeCurrentRPC":"JSON","version":513}`, Request{Code: 34, Opaque: 2, Version: 513}},
		"numbers as strings":      {`{"code":"105","opaque":"-7","version":"+1","flag":"2"}`, Request{Code: 105, Opaque: -7, Version: 1, Flag: 2}},
		"whole numbers":           {`{"code":1.0,"opaque":1e2,"version":-0}`, Request{Code: 1, Opaque: 100}},
		"bounds of int32":         {`{"code":2147483647,"opaque":-2147483648}`, Request{Code: 2147483647, Opaque: -2147483648}},
		"beyond int16":            {`{"code":200050,"version":65536}`, Request{Code: 200050, Version: 65536}},
		"null and empty scalars":  {`{"code":null,"opaque":"","version":null,"flag":""}`, Request{}},
		"language by ordinal":     {`{"language":9}`, Request{Language: Go}},
		"ordinal as string":       {`{"language":"12"}`, Request{Language: Rust}},
		"language in lower case":  {`{"language":"cpp"}`, Request{Language: CPP}},
		"unknown language":        {`{"language":"COBOL"}`, Request{Language: UnknownLanguage}},
		"unknown ordinal":         {`{"language":14}`, Request{Language: UnknownLanguage}},
		"null language":           {`{"language":null}`, Request{Language: UnknownLanguage}},
		"null remark and ext":     {`{"remark":null,"extFields":null}`, Request{}},
		"remark that is a number": {`{"remark":12}`, Request{Remark: "12"}},
		"ext values of any kind": {
			`{"extFields":{"n":-1.50e3,"t":true,"f":false,"z":null,"o":{"a":[1,"]}"]},"l":[1, 2],"s":"x"}}`,
			Request{Fields: ext("n", "-1.50e3", "t", "true", "f", "false", "o", `{"a":[1,"]}"]}`, "l", `[1, 2]`, "s", "x")},
		},
		"key twice: the last counts":   {`{"code":1,"code":2}`, Request{Code: 2}},
		"extFields twice":              {`{"extFields":{"a":"1"},"extFields":{"b":"2"}}`, Request{Fields: ext("b", "2")}},
		"unknown keys and junk":        {`{"x":{"code":5,"y":[{"}":"\"}"}]},"z":[[],{}],"w":1e999,"v":"\u12","code":3}`, Request{Code: 3}},
		"keys in another case":         {`{"CODE":5,"ext_fields":{"a":"b"},"extfields":{}}`, Request{}},
		"white space":                  {" \t\r\n{ \"code\" : 5 , \"extFields\" : { \"a\" : \"b\" , \"c\" : 1 } } \n", Request{Code: 5, Fields: ext("a", "b", "c", "1")}},
		"escapes":                      {`{"remark":"\"\\\/\b\f\n\r\t\u0001\u00e9\u20AC\ud83d\ude00","extFields":{"\u0061":"x\u0001y\u0002"}}`, Request{Remark: "\"\\/\b\f\n\r\t\x01é€😀", Fields: ext("a", "x\x01y\x02")}},
		"lonely surrogates":            {`{"remark":"\ud83d","extFields":{"a":"\ude00\ud83dx","b":"\ud83d\u0041","c":"\ud83d\n"}}`, Request{Remark: "\ufffd", Fields: ext("a", "\ufffd\ufffdx", "b", "\ufffdA", "c", "\ufffd\n")}},
		"control characters raw":       {"{\"remark\":\"a\x01b\"}", Request{Remark: "a\x01b"}},
		"serialization is only a word": {`{"serializeTypeCurrentRPC":"ROCKETMQ","code":1}`, Request{Code: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Code: 99, Remark: "old", Fields: ext("old", "old"), Language: Go}
			r.reset()
			if err := decodeJSON([]byte(tc.text), &r); err != nil {
				t.Fatal(err)
			}
			if !sameHeader(&r, &tc.want) {
				t.Errorf("got  %+v\nwant %+v", r, tc.want)
			}
		})
	}
}

func sameHeader(a, b *Request) bool {
	if a.Code != b.Code || a.Language != b.Language || a.Version != b.Version || a.Opaque != b.Opaque || a.Flag != b.Flag ||
		a.Remark != b.Remark || len(a.Fields) != len(b.Fields) {
		return false
	}
	for i := range a.Fields {
		if a.Fields[i] != b.Fields[i] {
			return false
		}
	}
	return true
}

func TestJSONHeadersThatClose(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                "",
		"space":                  "  ",
		"an array":               `[]`,
		"a string":               `"x"`,
		"open object":            `{"code":1`,
		"open string":            `{"code":"1`,
		"open escape":            `{"remark":"\`,
		"open nesting":           `{"x":{"y":[`,
		"open extFields":         `{"extFields":{"a":"b"`,
		"comma at the end":       `{"code":1,}`,
		"two commas":             `{"code":1,,"flag":0}`,
		"no comma":               `{"code":1 "flag":0}`,
		"no colon":               `{"code" 1}`,
		"no value":               `{"code":}`,
		"bare key":               `{code:1}`,
		"single quotes":          `{'code':1}`,
		"bytes after the object": `{}x`,
		"opaque beyond int32":    `{"opaque":2147483648}`,
		"opaque far beyond":      `{"opaque":99999999999999999999}`,
		"a fraction":             `{"code":1.5}`,
		"a word":                 `{"code":"ten"}`,
		"a boolean":              `{"code":true}`,
		"an object for a number": `{"code":{}}`,
		"extFields as a string":  `{"extFields":"{}"}`,
		"extFields as an array":  `{"extFields":[]}`,
		"bare word":              `{"remark":nil}`,
		"half a number":          `{"x":1.}`,
		"unknown escape":         `{"remark":"\q"}`,
		"short unicode escape":   `{"remark":"\u12"}`,
		"bad unicode escape":     `{"remark":"\u12g4"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := decodeJSON([]byte(text), new(Request)); !errors.Is(err, ErrBadFrame) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFrameSize(t *testing.T) {
	const limit = 1 << 24
	for name, tc := range map[string]struct {
		in   string
		want int
		bad  bool
	}{
		"too short to tell":  {in: "000000"},
		"smallest":           {in: "00000004", want: 8},
		"largest":            {in: "00fffffc", want: limit},
		"one byte too many":  {in: "00fffffd", bad: true},
		"negative":           {in: "ffffffff", bad: true},
		"most negative":      {in: "80000000", bad: true},
		"largest of int32":   {in: "7fffffff", bad: true},
		"no room for header": {in: "00000003", bad: true},
		"zero":               {in: "00000000", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := hex.DecodeString(tc.in)
			n, err := frameSize(b, limit)
			if n != tc.want || errors.Is(err, ErrBadFrame) != tc.bad {
				t.Errorf("got %d, %v", n, err)
			}
		})
	}
}

func TestFramesThatClose(t *testing.T) {
	for name, text := range map[string]string{
		"header longer than the frame": "00000006" + "00000003" + "7b7d",
		"unknown serialization":        "00000006" + "02000002" + "7b7d",
		"bad header":                   "00000006" + "00000002" + "7b7b",
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := hex.DecodeString(text)
			if _, err := decodeFrame(b, new(Request)); !errors.Is(err, ErrBadFrame) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLanguages(t *testing.T) {
	for l, want := range map[Language]string{Java: "JAVA", Go: "GO", OMS: "OMS", NodeJS: "NODE_JS", UnknownLanguage: "", 14: ""} {
		if got := l.String(); got != want {
			t.Errorf("language %d is %q, want %q", l, got, want)
		}
		if want != "" && languageByName(strings.ToLower(want)) != l {
			t.Errorf("%q does not name %v", strings.ToLower(want), l)
		}
	}
}

func TestDetachedRequestOutlivesItsFrame(t *testing.T) {
	frame := jsonFrame(`{"code":1,"remark":"why","extFields":{"key":"v\u0061lue"}}`, "body")
	var r Request
	if _, err := decodeFrame(frame, &r); err != nil {
		t.Fatal(err)
	}
	var d Request
	r.copyTo(&d, nil)
	clear(frame)
	clear(r.Fields)
	if v, _ := d.Fields.Get("key"); d.Remark != "why" || v != "value" || string(d.Body) != "body" {
		t.Errorf("got %+v", d)
	}
	if d.Body = append(d.Body, 'x'); d.Remark != "why" {
		t.Error("the body's memory goes on in the remark's")
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	testkit.CountsAllocations(t)
	body := string(make([]byte, 1024))
	for name, pristine := range map[string][]byte{"JSON": jsonFrame(sendHeaderJSON, body), "ROCKETMQ": binaryOf(t, sendHeaderJSON)} {
		frame := make([]byte, len(pristine))
		r := Request{Fields: make(header.Fields, 0, 32)}
		var h header.SendMessageRequest
		if n := testing.AllocsPerRun(100, func() {
			copy(frame, pristine)
			if _, err := decodeFrame(frame, &r); err != nil {
				t.Fatal(err)
			}
			if err := h.DecodeFields(r.Fields); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("decoding a %s send allocates %v times", name, n)
		}
	}
	answer, extra := sendAnswer(), header.Fields{{Key: "MSG_REGION", Value: "DefaultRegion"}}
	var w frameWriter
	for _, ser := range []Serialization{JSON, RocketMQ} {
		if n := testing.AllocsPerRun(100, func() {
			w.buf = w.buf[:0]
			h := head{opaque: 7, flag: flagResponse, fields: &answer, extra: extra}
			if err := w.frame(ser, &h, nil, 0); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("encoding a %v answer allocates %v times", ser, n)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(jsonFrame(sendHeaderJSON, "body"))
	f.Add(binaryOf(f, sendHeaderJSON))
	route, _ := hex.DecodeString(routeRequestHex)
	f.Add(route)
	f.Add([]byte{0, 0, 0, 6, 2, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := frameSize(b, 1<<20)
		if err != nil || n == 0 || n > len(b) {
			return
		}
		var r Request
		if _, err := decodeFrame(b[:n:n], &r); err != nil && !errors.Is(err, ErrBadFrame) {
			t.Errorf("error without ErrBadFrame: %v", err)
		}
		r.copyTo(new(Request), nil)
	})
}

func FuzzJSONHeader(f *testing.F) {
	for _, s := range []string{
		sendHeaderJSON, `{}`, `{"code":"5","extFields":{"a":1,"b":{"c":[]},"d":null}}`, `{"remark":"\ud83d\ude00\u0001"}`,
		`{"language":9,"opaque":-1,"version":1.0}`, `{"x":[{"y":"\\"}],"flag":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid := json.Valid(b)
		var std struct{ ExtFields map[string]any }
		// encoding/json matches names in any case; only the exact one is a key of a header.
		comparable := valid && utf8.Valid(b) && json.Unmarshal(b, &std) == nil && strings.Count(strings.ToLower(string(b)), "extfields") == 1 &&
			strings.Contains(string(b), `"extFields"`)
		var r Request
		if err := decodeJSON(append([]byte(nil), b...), &r); err != nil || !comparable {
			return
		}
		for k, v := range std.ExtFields {
			if s, ok := v.(string); ok {
				if got, _ := r.Fields.Get(k); got != s {
					t.Errorf("%q is %q, encoding/json reads %q", k, got, s)
				}
			}
		}
		readsBack(t, &r, (*frameWriter).json, decodeJSON)
	})
}

// readsBack: what was read can be written and read again.
func readsBack(t *testing.T, r *Request, write func(*frameWriter, *head), read func([]byte, *Request) error) {
	t.Helper()
	var w frameWriter
	write(&w, &head{code: r.Code, opaque: r.Opaque, flag: r.Flag, remark: r.Remark, extra: r.Fields})
	var again Request
	if err := read(w.buf, &again); err != nil {
		t.Fatalf("read back %q: %v", w.buf, err)
	}
	again.Language, again.Version = r.Language, r.Version
	if !sameHeader(r, &again) {
		t.Errorf("wrote %+v\nread  %+v", r, again)
	}
}

// plainSeeds are headers of clients, and some that almost look like theirs.
func plainSeeds() []string {
	return []string{
		sendHeaderJSON, sendHeaderGo, pullHeaderJSON, `{}`, `{"extFields":{"a":"1","b":"x\u0001y\u0002z\u0009","c":"","d":"\u000a"}}`,
		`{"code":2147483647,"opaque":2147483648}`, `{"code":0000000001,"flag":00000000001,"version":1}`, `{"code":1.0,"flag":"2","opaque":-1}`,
		`{"language":"GO","language":"go","language":"JAVAX","remark":"a\tb"}`, `{"extFields":{"\":"x":"y"},"extFields":{"":"","":"a"}}`,
		`{"extFields":{"a":1,"b":"2","c":null,"d":"e"} ,"extFields":{ "a":"b"}}`, `{"extFields":{"e":"\\","f":"\"","g":"abcdefgh\""}}`,
		`{"extFields":{"aaaaaaaaaaaaa":"b","c":"d"},"serializeTypeCurrentRPC":"ROCKETMQ","serializeTypeCurrentRPC":"JSON"}`,
		`{"extFields":{"a":"0123456701234567012345670123456\u00010123456701234567\u00020123456\u00030\n01234567\u00e9x"}}`,
	}
}

// sameWithoutShortcuts compares what the shortcuts for plain headers read with what is read without them.
func sameWithoutShortcuts(t *testing.T, text []byte) {
	t.Helper()
	var quick, general Request
	quick.reset()
	general.reset()
	err := readJSON(bytes.Clone(text), &quick, true)
	wantErr := readJSON(bytes.Clone(text), &general, false)
	switch {
	case (err == nil) != (wantErr == nil), err != nil && err.Error() != wantErr.Error():
		t.Fatalf("%q: %v with shortcuts, %v without", text, err, wantErr)
	case err == nil && !sameHeader(&quick, &general):
		t.Fatalf("%q: %+v with shortcuts, %+v without", text, quick, general)
	}
}

func TestShortcutsReadWhatTheGeneralDecoderReads(t *testing.T) {
	for _, seed := range plainSeeds() {
		for i := range seed {
			sameWithoutShortcuts(t, []byte(seed[:i]))
			sameWithoutShortcuts(t, []byte(seed[:i]+seed[i+1:]))
			for _, c := range []byte("\x00\x01 \"\\,:{}[0a#]\xff") {
				text := []byte(seed)
				text[i] = c
				sameWithoutShortcuts(t, text)
				sameWithoutShortcuts(t, []byte(seed[:i]+string(c)+seed[i:]))
			}
		}
	}
}

func FuzzPlainHeader(f *testing.F) {
	for _, s := range plainSeeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(sameWithoutShortcuts)
}

func FuzzBinaryHeader(f *testing.F) {
	f.Add(binaryOf(f, sendHeaderJSON)[8:])
	route, _ := hex.DecodeString(routeRequestHex)
	f.Add(route[8:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if err := decodeBinary(b, &r); err != nil {
			return
		}
		readsBack(t, &r, (*frameWriter).binary, decodeBinary)
	})
}
