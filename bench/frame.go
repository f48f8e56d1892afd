package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Serialization is the header encoding of requests.
type Serialization byte

const (
	JSON   Serialization = 0
	Binary Serialization = 1
)

// ParseSerialization reads the name that the protocol has for it.
func ParseSerialization(name string) (Serialization, error) {
	switch strings.ToUpper(name) {
	case "JSON":
		return JSON, nil
	case "ROCKETMQ":
		return Binary, nil
	}
	return 0, fmt.Errorf("serialization %q: JSON or ROCKETMQ", name)
}

// pair is one header field in wire order.
type pair struct{ key, value string }

// frame encodes one request. Opaque 0 is written with a fixed width, so that it can be patched.
func frame(s Serialization, code int, opaque int32, ext []pair, body []byte) []byte {
	var head []byte
	if s == Binary {
		head = binaryHeader(code, opaque, ext)
	} else {
		head = jsonHeader(code, opaque, ext)
	}
	out := make([]byte, 8, 8+len(head)+len(body))
	binary.BigEndian.PutUint32(out, uint32(4+len(head)+len(body)))
	binary.BigEndian.PutUint32(out[4:], uint32(s)<<24|uint32(len(head)))
	return append(append(out, head...), body...)
}

func jsonHeader(code int, opaque int32, ext []pair) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"code":%d,"extFields":{`, code)
	for i, p := range ext {
		if i > 0 {
			b.WriteByte(',')
		}
		k, _ := json.Marshal(p.key)
		v, _ := json.Marshal(p.value)
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	fmt.Fprintf(&b, `},"flag":0,"language":"GO","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":513}`, opaque)
	return b.Bytes()
}

func binaryHeader(code int, opaque int32, ext []pair) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(code))
	out = append(out, 9) // GO
	out = binary.BigEndian.AppendUint16(out, 513)
	out = binary.BigEndian.AppendUint32(out, uint32(opaque))
	out = binary.BigEndian.AppendUint32(out, 0) // flag
	out = binary.BigEndian.AppendUint32(out, 0) // remark
	size := len(out)
	out = binary.BigEndian.AppendUint32(out, 0)
	for _, p := range ext {
		out = binary.BigEndian.AppendUint16(out, uint16(len(p.key)))
		out = append(out, p.key...)
		out = binary.BigEndian.AppendUint32(out, uint32(len(p.value)))
		out = append(out, p.value...)
	}
	binary.BigEndian.PutUint32(out[size:], uint32(len(out)-size-4))
	return out
}

// template is a request made once; copies of it are patched at places that keep their width.
type template struct {
	serialization Serialization
	frame         []byte
	opaqueAt      int
	places        map[string][]int // text to patch by the mark that stood there, and where; marks are unique digits or letters
}

// opaqueBase keeps the JSON form of an opaque ten digits wide.
const opaqueBase = 1_000_000_000

// makeTemplate makes a request in which every mark is found again: a mark is a text that stands nowhere else.
func makeTemplate(s Serialization, code int, ext []pair, body []byte, marks ...string) template {
	t := template{serialization: s, frame: frame(s, code, opaqueBase, ext, body), places: map[string][]int{}}
	if s == Binary {
		t.opaqueAt = 8 + 5
	} else {
		t.opaqueAt = bytes.Index(t.frame, []byte(`"opaque":`)) + len(`"opaque":`)
	}
	for _, m := range marks {
		for from := 0; ; {
			i := bytes.Index(t.frame[from:], []byte(m))
			if i < 0 {
				break
			}
			t.places[m] = append(t.places[m], from+i)
			from += i + len(m)
		}
	}
	return t
}

// setOpaque patches a copy of the template's frame.
func (t *template) setOpaque(frame []byte, slot int) {
	if t.serialization == Binary {
		binary.BigEndian.PutUint32(frame[t.opaqueAt:], uint32(opaqueBase+slot))
		return
	}
	putDecimal(frame[t.opaqueAt:t.opaqueAt+10], uint64(opaqueBase+slot))
}

// Two digits at a time: a run writes some 40 digits for each message.
const (
	decimalPairs = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566" +
		"676869707172737475767778798081828384858687888990919293949596979899"
	hexDigits = "0123456789ABCDEF"
)

// putDecimal writes n with leading zeros over the whole of b.
func putDecimal(b []byte, n uint64) {
	i := len(b)
	for ; i > 1; i -= 2 {
		two := 2 * (n % 100)
		n /= 100
		b[i-2], b[i-1] = decimalPairs[two], decimalPairs[two+1]
	}
	if i == 1 {
		b[0] = byte('0' + n%10)
	}
}

// putHex writes n in hexadecimal with leading zeros over the whole of b.
func putHex(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = hexDigits[n&15]
		n >>= 4
	}
}

// answer is what a run needs of an answer.
type answer struct {
	code   int
	slot   int
	header []byte // valid until the next call of next
	body   []byte
}

// parseAnswer reads code and opaque out of a whole frame (without its length field).
func parseAnswer(f []byte) (answer, error) {
	at := 0
	return parseAnswerLike(f, &at)
}

const (
	codeKey   = `{"code":`
	opaqueKey = `"opaque":`
)

// parseAnswerLike is parseAnswer with the place where the opaque stood in the answer before, which is where it will stand again.
func parseAnswerLike(f []byte, opaqueAt *int) (answer, error) {
	var a answer
	if len(f) < 4 {
		return a, fmt.Errorf("frame of %d bytes", len(f))
	}
	word := binary.BigEndian.Uint32(f)
	size := int(word & 0xFFFFFF)
	if size > len(f)-4 {
		return a, fmt.Errorf("header of %d bytes in a frame of %d", size, len(f))
	}
	a.header, a.body = f[4:4+size], f[4+size:]
	if word>>24 == uint32(Binary) {
		if size < 21 {
			return a, fmt.Errorf("binary header of %d bytes", size)
		}
		a.code = int(int16(binary.BigEndian.Uint16(a.header)))
		a.slot = int(int32(binary.BigEndian.Uint32(a.header[5:]))) - opaqueBase
		return a, nil
	}
	at := *opaqueAt
	if at+len(opaqueKey) > size || string(a.header[at:at+len(opaqueKey)]) != opaqueKey {
		at = max(0, bytes.Index(a.header, []byte(opaqueKey)))
		*opaqueAt = at
	}
	opaque, ok := number(a.header[at:], opaqueKey)
	var code int64
	var ok2 bool
	if size > len(codeKey) && string(a.header[:len(codeKey)]) == codeKey {
		code, ok2 = digits(a.header[len(codeKey):])
	} else {
		code, ok2 = number(a.header, codeKey[1:])
	}
	if !ok || !ok2 {
		return a, fmt.Errorf("no code or opaque in the header %.200q", a.header)
	}
	a.code, a.slot = int(code), int(opaque)-opaqueBase
	return a, nil
}

// number is the decimal number behind a key in a JSON header; a quote in front of it is skipped.
func number(header []byte, key string) (int64, bool) {
	i := bytes.Index(header, []byte(key))
	if i < 0 {
		return 0, false
	}
	i += len(key)
	if i < len(header) && header[i] == '"' {
		i++
	}
	return digits(header[i:])
}

// digits is the decimal number that b begins with.
func digits(b []byte) (int64, bool) {
	var n int64
	i := 0
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		i++
	}
	begin := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	if neg {
		n = -n
	}
	return n, i > begin
}

// field is a number of the custom header, in either serialization.
func (a *answer) field(s Serialization, name string) (int64, bool) {
	if s != Binary {
		return number(a.header, `"`+name+`":`)
	}
	i := bytes.Index(a.header, []byte(name))
	if i < 0 || i+len(name)+4 > len(a.header) {
		return 0, false
	}
	i += len(name)
	size := int(binary.BigEndian.Uint32(a.header[i:]))
	if size < 0 || i+4+size > len(a.header) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(a.header[i+4:i+4+size]), 10, 64)
	return n, err == nil
}

// text is the remark and the rest of a header, for messages about errors.
func (a *answer) text() string { return fmt.Sprintf("code %d: %.300q", a.code, a.header) }
