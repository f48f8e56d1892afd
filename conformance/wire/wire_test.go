package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The two worked frames of the specification (remoting.md 2.1 and 2.4).
func TestFramesOfTheSpecification(t *testing.T) {
	head := `{"code":17,"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":0}`
	f, err := ReadFrame(bytes.NewReader(append(unhex(t, "000000620000005e"), head...)))
	if err != nil || f.Code != 17 || f.Opaque != 3 || !f.IsAnswer() || f.Type != JSON {
		t.Errorf("%+v, %v", f, err)
	}
	want := unhex(t, "000000260100002200690002010000000700000000000000000000000d0005746f706963000000025431")
	out, err := (&Frame{Code: 105, Language: "JAVA", Version: 513, Opaque: 7, Ext: Ext("topic", "T1"), Type: Binary}).Encode()
	if err != nil || !bytes.Equal(out, want) {
		t.Errorf("%x, %v\nwant %x", out, err, want)
	}
	back, err := ReadFrame(bytes.NewReader(want))
	if err != nil || back.Code != 105 || back.Ext["topic"] != "T1" {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestFramesComeBack(t *testing.T) {
	for _, kind := range []Serialization{JSON, Binary} {
		f := &Frame{Code: 310, Language: "GO", Version: 317, Opaque: -5, Flag: 2, Remark: "läuft", Ext: Ext("a", 1, "b", true, "c", "\x01\x02"), Body: []byte("body"), Type: kind}
		b, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadFrame(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(f, back) {
			t.Errorf("%+v, %v\nwant %+v", back, err, f)
		}
	}
}

func TestLoose(t *testing.T) {
	for in, want := range map[string]string{
		`{0:"x",1:[1,-2.5,true,null]}`:              `{"0":"x","1":[1,-2.5,true,null]}`,
		`{{"b":1,"a":"q"}:42,{"a":2}:{}}`:           `{"{\"a\":\"q\",\"b\":1}":42,"{\"a\":2}":{}}`,
		`  {"a" : "\u00e4\n" } `:                    `{"a":"ä\n"}`,
		`"text"`:                                    `"text"`,
		`{"offsetTable":{"T@G":{0:5,11:7}},"x":[]}`: `{"offsetTable":{"T@G":{"0":5,"11":7}},"x":[]}`,
	} {
		v, err := Loose([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if b, _ := json.Marshal(v); string(b) != want {
			t.Errorf("%s is read as %s, want %s", in, b, want)
		}
	}
	for _, in := range []string{"", "{", "[1", `{"a"}`, `{"a":}`, "nothing", `"open`, "1 2", `{"a":1}x`} {
		if v, err := Loose([]byte(in)); err == nil {
			t.Errorf("%q is read as %v", in, v)
		}
	}
}

func TestProperties(t *testing.T) {
	s := Properties("TAGS", "a", "k", "ä")
	if s != "TAGS\x01a\x02k\x01ä\x02" || !reflect.DeepEqual(ParseProperties(s), map[string]string{"TAGS": "a", "k": "ä"}) {
		t.Errorf("%q", s)
	}
}

func TestOffsetID(t *testing.T) {
	host, at, err := OffsetID("0A00000100002A9F0000000000000100")
	if err != nil || host.String() != "10.0.0.1:10911" || at != 256 {
		t.Errorf("%v %d %v", host, at, err)
	}
	for _, bad := range []string{"", "0A", "zz"} {
		if _, _, err := OffsetID(bad); err == nil {
			t.Errorf("%q is an offset id", bad)
		}
	}
}

// dialed is a connection to a peer that does one thing and hangs up.
func dialed(t *testing.T, peer func(net.Conn)) *Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		peer(c)
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	c, err := Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A connection keeps answers, requests of the other side and answers that nobody waits for apart.
func TestConn(t *testing.T) {
	c := dialed(t, func(c net.Conn) {
		f, err := ReadFrame(c)
		if err != nil {
			return
		}
		for _, out := range []*Frame{{Code: 40, Opaque: f.Opaque, Flag: 2}, {Code: 5, Opaque: 999, Flag: 1}, {Code: 7, Opaque: f.Opaque, Flag: 1}} {
			b, _ := out.Encode()
			_, _ = c.Write(b)
		}
	})
	f, err := c.Call(1, nil, nil)
	if err != nil || f.Code != 7 {
		t.Errorf("%v, %v", f, err)
	}
	if a, s := c.Asked(), c.Stray(); len(a) != 1 || a[0].Code != 40 || len(s) != 1 || s[0].Code != 5 {
		t.Errorf("asked %v, stray %v", a, s)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Error("the end of the connection is not seen")
	}
	if _, err := c.Call(1, nil, nil); err == nil {
		t.Error("a call on a closed connection succeeds")
	}
}

// TestTogether has requests arrive in one piece, and answers come in another order.
func TestTogether(t *testing.T) {
	c := dialed(t, func(c net.Conn) {
		var out []byte
		for range 3 {
			f, err := ReadFrame(c)
			if err != nil {
				return
			}
			b, _ := (&Frame{Code: f.Code + 100, Opaque: f.Opaque, Flag: 1, Body: f.Body}).Encode()
			out = append(b, out...)
		}
		_, _ = c.Write(out)
	})
	answers, err := c.Together(Request{Code: 1, Body: []byte("a")}, Request{Code: 2, Body: []byte("b")}, Request{Code: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a", "b", ""} {
		if f := answers[i]; f.Code != 101+i || string(f.Body) != want {
			t.Errorf("answer %d: %v with body %q, want code %d with %q", i, f, f.Body, 101+i, want)
		}
	}
	if _, err := c.Together(Request{Code: 4}); err == nil {
		t.Error("a request on a connection that has ended succeeds")
	}
}

func FuzzFrame(f *testing.F) {
	for _, kind := range []Serialization{JSON, Binary} {
		b, _ := (&Frame{Code: 1, Ext: Ext("k", "v"), Type: kind}).Encode()
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) >= 8 { // a length that promises more than there is only waits for it
			_, _ = parse(b[4:])
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 0xDA, 0xA3, 0x20, 0xA7})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Records(b) })
}

func FuzzLoose(f *testing.F) {
	f.Add([]byte(`{{"a":1}:{0:[1,"x"]}}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Loose(b) })
}
