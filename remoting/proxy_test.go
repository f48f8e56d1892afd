package remoting

import (
	"encoding/hex"
	"errors"
	"testing"
)

const proxyV2Hex = "0d0a0d0a000d0a515549540a"

func TestProxyHeaders(t *testing.T) {
	unhex := func(s string) string { b, _ := hex.DecodeString(s); return string(b) }
	for name, tc := range map[string]struct {
		in           string
		source, dest string // "" means that the connection's own address counts
		tlvs         int
	}{
		"v1 IPv4":          {in: "PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n", source: "1.2.3.4:1000", dest: "5.6.7.8:2000"},
		"v1 IPv6":          {in: "PROXY TCP6 ::1 2001:db8::2 1 65535\r\n", source: "[::1]:1", dest: "[2001:db8::2]:65535"},
		"v1 unknown":       {in: "PROXY UNKNOWN\r\n"},
		"v1 unknown, long": {in: "PROXY UNKNOWN ff::1 ff::2 1 2\r\n"},
		"v2 IPv4":          {in: unhex(proxyV2Hex + "2111000c" + "01020304" + "05060708" + "03e8" + "07d0"), source: "1.2.3.4:1000", dest: "5.6.7.8:2000"},
		"v2 IPv6": {
			in:     unhex(proxyV2Hex + "21210024" + "00000000000000000000000000000001" + "20010db8000000000000000000000002" + "0001" + "ffff"),
			source: "[::1]:1", dest: "[2001:db8::2]:65535",
		},
		"v2 with TLVs":   {in: unhex(proxyV2Hex + "21110013" + "01020304" + "05060708" + "03e8" + "07d0" + "020001" + "41" + "ea0000"), source: "1.2.3.4:1000", dest: "5.6.7.8:2000", tlvs: 2},
		"v2 local":       {in: unhex(proxyV2Hex + "20000000")},
		"v2 unix":        {in: unhex(proxyV2Hex + "21310002" + "2f2f")},
		"v2 unspecified": {in: unhex(proxyV2Hex + "21000000")},
	} {
		t.Run(name, func(t *testing.T) {
			for i := 1; i < len(tc.in); i++ {
				if n, _, err := parseProxyHeader([]byte(tc.in[:i])); n != 0 || err != nil {
					t.Fatalf("%d of %d bytes: %d, %v", i, len(tc.in), n, err)
				}
			}
			n, h, err := parseProxyHeader([]byte(tc.in + "rest"))
			if n != len(tc.in) || err != nil {
				t.Fatalf("got %d of %d bytes, %v", n, len(tc.in), err)
			}
			if tc.source == "" {
				if h.Source.IsValid() {
					t.Errorf("source is %v", h.Source)
				}
				return
			}
			if h.Source.String() != tc.source || h.Dest.String() != tc.dest || len(h.TLVs) != tc.tlvs {
				t.Errorf("got %+v", h)
			}
		})
	}
	for name, in := range map[string]string{
		"v1 port beyond 65535": "PROXY TCP4 1.2.3.4 5.6.7.8 1000 65536\r\n",
		"v1 too few words":     "PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
		"v1 other family":      "PROXY UDP4 1.2.3.4 5.6.7.8 1000 2000\r\n",
		"v2 version 1":         unhex(proxyV2Hex + "11110000"),
		"v2 command 2":         unhex(proxyV2Hex + "22110000"),
		"v2 short addresses":   unhex(proxyV2Hex + "21110004" + "01020304"),
		"v2 TLV beyond it":     unhex(proxyV2Hex + "2111000f" + "01020304" + "05060708" + "03e8" + "07d0" + "020001"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := parseProxyHeader([]byte(in)); !errors.Is(err, ErrBadFrame) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestProxySourceIsTheRemoteAddress(t *testing.T) {
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: func(r *Request) {
		if r.Conn().Proxy() == nil {
			r.Fail(1, "no PROXY header")
			return
		}
		r.Reply(&Reply{Remark: r.Conn().RemoteText() + " " + r.Conn().RemoteAddr().String()})
	}}}})
	request := string(jsonFrame(`{"code":1}`, ""))
	t.Run("in one piece with a request", func(t *testing.T) {
		nc := dialRaw(t, s)
		mustWrite(t, nc, []byte("PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n"+request))
		if _, r := readFrame(t, nc); r.Remark != "1.2.3.4:1000 1.2.3.4:1000" {
			t.Errorf("remote is %q", r.Remark)
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		nc := dialRaw(t, s)
		for _, b := range []byte("PROXY TCP6 ::ffff:9.9.9.9 ::1 7 2000\r\n" + request) {
			mustWrite(t, nc, []byte{b})
		}
		if _, r := readFrame(t, nc); r.Remark != "9.9.9.9:7 9.9.9.9:7" {
			t.Errorf("remote is %q", r.Remark)
		}
	})
	t.Run("that says nothing", func(t *testing.T) {
		nc := dialRaw(t, s)
		mustWrite(t, nc, []byte("PROXY UNKNOWN\r\n"+request))
		if _, r := readFrame(t, nc); r.Remark != nc.LocalAddr().String()+" "+nc.LocalAddr().String() {
			t.Errorf("remote is %q, want %v", r.Remark, nc.LocalAddr())
		}
	})
	t.Run("only one", func(t *testing.T) {
		nc := dialRaw(t, s)
		mustWrite(t, nc, []byte("PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n"))
		if _, err := nc.Read(make([]byte, 1)); !isGone(err) {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n"))
	v2, _ := hex.DecodeString(proxyV2Hex + "21110013" + "01020304" + "05060708" + "03e8" + "07d0" + "020001" + "41" + "ea0000")
	f.Add(v2)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		n, h, err := parseProxyHeader(b)
		switch {
		case err != nil && (n != 0 || !errors.Is(err, ErrBadFrame)):
			t.Errorf("%d bytes with %v", n, err)
		case n < 0 || n > len(b) || (n > 0) != (h != nil):
			t.Errorf("%d of %d bytes, %+v", n, len(b), h)
		case n > 0:
			if m, _, err := parseProxyHeader(b[:n]); m != n || err != nil {
				t.Errorf("the same without what follows: %d, %v", m, err)
			}
		}
	})
}
