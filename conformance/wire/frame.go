package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Serialization is the type byte of a frame.
type Serialization byte

const (
	JSON   Serialization = 0
	Binary Serialization = 1
)

// Frame is one request or answer.
type Frame struct {
	Code     int
	Language string
	Version  int
	Opaque   int32
	Flag     int
	Remark   string
	Ext      map[string]string
	Body     []byte
	Type     Serialization
}

// IsAnswer tells an answer from a request.
func (f *Frame) IsAnswer() bool { return f.Flag&1 != 0 }

// Int is a number of the header; -1 << 62 if it is not there.
func (f *Frame) Int(key string) int64 {
	n, err := strconv.ParseInt(f.Ext[key], 10, 64)
	if err != nil {
		return -1 << 62
	}
	return n
}

func (f *Frame) String() string {
	return fmt.Sprintf("code %d remark %q ext %v body %d bytes", f.Code, f.Remark, f.Ext, len(f.Body))
}

// Encode is the whole frame: length, type and header length, header, body.
func (f *Frame) Encode() ([]byte, error) {
	var head []byte
	if f.Type == Binary {
		head = f.binaryHeader()
	} else {
		h := map[string]any{
			"code": f.Code, "language": f.Language, "version": f.Version, "opaque": f.Opaque, "flag": f.Flag,
			"serializeTypeCurrentRPC": "JSON",
		}
		if f.Remark != "" {
			h["remark"] = f.Remark
		}
		if f.Ext != nil {
			h["extFields"] = f.Ext
		}
		var err error
		if head, err = json.Marshal(h); err != nil {
			return nil, err
		}
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+len(f.Body)))
	out = binary.BigEndian.AppendUint32(out, uint32(f.Type)<<24|uint32(len(head)))
	out = append(out, head...)
	return append(out, f.Body...), nil
}

func (f *Frame) binaryHeader() []byte {
	language := byte(0) // JAVA
	if f.Language == "GO" {
		language = 9
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(f.Code))
	out = append(out, language)
	out = binary.BigEndian.AppendUint16(out, uint16(f.Version))
	out = binary.BigEndian.AppendUint32(out, uint32(f.Opaque))
	out = binary.BigEndian.AppendUint32(out, uint32(f.Flag))
	out = binary.BigEndian.AppendUint32(out, uint32(len(f.Remark)))
	out = append(out, f.Remark...)
	var ext []byte
	for _, k := range slices.Sorted(maps.Keys(f.Ext)) {
		ext = binary.BigEndian.AppendUint16(ext, uint16(len(k)))
		ext = append(ext, k...)
		ext = binary.BigEndian.AppendUint32(ext, uint32(len(f.Ext[k])))
		ext = append(ext, f.Ext[k]...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(ext)))
	return append(out, ext...)
}

const maxFrame = 64 << 20 // larger than any server may send

// ReadFrame reads one frame.
func ReadFrame(r io.Reader) (*Frame, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return parse(b)
}

func parse(b []byte) (*Frame, error) {
	word := binary.BigEndian.Uint32(b)
	f := &Frame{Type: Serialization(word >> 24)}
	size := int(word & 0xFFFFFF)
	if size > len(b)-4 {
		return nil, fmt.Errorf("header of %d bytes in a frame of %d", size, len(b))
	}
	head := b[4 : 4+size]
	f.Body = b[4+size:]
	if f.Type == Binary {
		return f, f.parseBinary(head)
	}
	var h struct {
		Code     int               `json:"code"`
		Language string            `json:"language"`
		Version  int               `json:"version"`
		Opaque   int32             `json:"opaque"`
		Flag     int               `json:"flag"`
		Remark   *string           `json:"remark"`
		Ext      map[string]string `json:"extFields"`
	}
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, fmt.Errorf("header %q: %w", head, err)
	}
	f.Code, f.Language, f.Version, f.Opaque, f.Flag, f.Ext = h.Code, h.Language, h.Version, h.Opaque, h.Flag, h.Ext
	if h.Remark != nil {
		f.Remark = *h.Remark
	}
	return f, nil
}

var errShort = errors.New("binary header is cut short")

func (f *Frame) parseBinary(b []byte) error {
	if len(b) < 21 {
		return errShort
	}
	f.Code = int(int16(binary.BigEndian.Uint16(b)))
	f.Language = map[byte]string{0: "JAVA", 9: "GO"}[b[2]]
	f.Version = int(int16(binary.BigEndian.Uint16(b[3:])))
	f.Opaque = int32(binary.BigEndian.Uint32(b[5:]))
	f.Flag = int(int32(binary.BigEndian.Uint32(b[9:])))
	remark, rest, err := text(b[13:], 4)
	if err != nil {
		return err
	}
	f.Remark = remark
	ext, rest, err := text(rest, 4)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes after the binary header", len(rest))
	}
	f.Ext = map[string]string{}
	for pairs := []byte(ext); len(pairs) > 0; {
		var k, v string
		if k, pairs, err = text(pairs, 2); err != nil {
			return err
		}
		if v, pairs, err = text(pairs, 4); err != nil {
			return err
		}
		f.Ext[k] = v
	}
	return nil
}

// text cuts a string with a length of width bytes in front.
func text(b []byte, width int) (string, []byte, error) {
	if len(b) < width {
		return "", nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if width == 4 {
		n = int(int32(binary.BigEndian.Uint32(b)))
	}
	b = b[width:]
	if n < 0 || n > len(b) {
		return "", nil, errShort
	}
	return string(b[:n]), b[n:], nil
}
