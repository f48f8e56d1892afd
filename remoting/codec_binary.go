package remoting

import (
	"encoding/binary"
	"unsafe"

	"apogee/remoting/header"
)

// The ROCKETMQ header (docs/format/remoting.md#binary-header; Java RocketMQSerializable):
//
//	offset size field
//	     0    2 code (int16)
//	     2    1 language
//	     3    2 version (int16)
//	     5    4 opaque
//	     9    4 flag
//	    13    4 remark length, 0 = none
//	    17    r remark
//	  17+r    4 length of the pairs, 0 = none
//	  21+r    e pairs: int16 length, key, int32 length, value
const binaryFixed = 21

// Codes above 32767 lose their upper half in this header, on the sender's side. No other code lies where they land, so they
// can be told (spec: remoting.md 2.4; Java answers 3 to them): 200050..200151 arrive as 3442..3543.
const (
	wrappedFirst, wrappedLast = 3442, 3543
	wrappedBy                 = 200050 - wrappedFirst
)

func decodeBinary(h []byte, r *Request) error {
	if len(h) < binaryFixed {
		return badFrame("binary header of %d bytes", len(h))
	}
	r.Code = int32(int16(binary.BigEndian.Uint16(h)))
	r.Language = languageByOrdinal(int64(h[2]))
	r.Version = int32(int16(binary.BigEndian.Uint16(h[3:])))
	r.Opaque = int32(binary.BigEndian.Uint32(h[5:]))
	r.Flag = int32(binary.BigEndian.Uint32(h[9:]))
	if r.Flag&flagResponse == 0 && r.Code >= wrappedFirst && r.Code <= wrappedLast {
		r.Code += wrappedBy
	}
	remarkLen := int(int32(binary.BigEndian.Uint32(h[13:])))
	if remarkLen < 0 || remarkLen > len(h)-binaryFixed {
		return badFrame("remark of %d bytes in a header of %d", remarkLen, len(h))
	}
	r.Remark = view(h[17 : 17+remarkLen])
	pairsLen := int(int32(binary.BigEndian.Uint32(h[17+remarkLen:])))
	pairs := h[binaryFixed+remarkLen:]
	if pairsLen < 0 || pairsLen > len(pairs) {
		return badFrame("extFields of %d bytes, %d left", pairsLen, len(pairs))
	}
	return decodePairs(pairs[:pairsLen], r)
}

func decodePairs(b []byte, r *Request) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return badFrame("extFields end inside a key's length")
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 || n > len(b)-2 {
			return badFrame("key of %d bytes, %d left", n, len(b)-2)
		}
		key := view(b[2 : 2+n])
		b = b[2+n:]
		if len(b) < 4 {
			return badFrame("extFields end inside a value's length")
		}
		n = int(int32(binary.BigEndian.Uint32(b)))
		if n < 0 || n > len(b)-4 {
			return badFrame("value of %d bytes, %d left", n, len(b)-4)
		}
		value := view(b[4 : 4+n])
		b = b[4+n:]
		// Java reads an empty key or value as null, and a null value as absent.
		if key != "" && value != "" {
			r.Fields = append(r.Fields, header.Pair{Key: key, Value: value})
		}
	}
	return nil
}

// view is b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (w *frameWriter) binary(h *head) {
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(h.code))
	w.buf = append(w.buf, byte(Java))
	w.buf = binary.BigEndian.AppendUint16(w.buf, ourVersion)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(h.opaque))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(h.flag))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(h.remark)))
	w.buf = append(w.buf, h.remark...)
	at := len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0)
	if h.fields != nil {
		h.fields.EncodeFields((*binaryPairs)(w))
	}
	h.shared.EncodeFields((*binaryPairs)(w))
	h.extra.EncodeFields((*binaryPairs)(w))
	binary.BigEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-at-4))
}

// binaryPairs is a frameWriter as the header.Encoder of the binary form.
type binaryPairs frameWriter

func (w *binaryPairs) key(key string, valueLen int) {
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(key)))
	w.buf = append(w.buf, key...)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(valueLen))
}

func (w *binaryPairs) String(key, value string) {
	if len(key) > 1<<15-1 {
		return // does not fit its length field
	}
	w.key(key, len(value))
	w.buf = append(w.buf, value...)
}

func (w *binaryPairs) Int(key string, value int64) {
	w.key(key, 0)
	at := len(w.buf)
	w.buf = header.AppendInt(w.buf, value)
	binary.BigEndian.PutUint32(w.buf[at-4:], uint32(len(w.buf)-at))
}

func (w *binaryPairs) Bool(key string, value bool) {
	if value {
		w.String(key, "true")
	} else {
		w.String(key, "false")
	}
}
