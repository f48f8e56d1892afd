// Package fastjson reads and writes JSON the way the Java servers do, which is not always JSON.
//
// Alibaba's fastjson (1.2 up to RocketMQ 5.3, 2.0 after it) writes integer map keys bare ({0:"x"}), bean map keys as objects
// ({{"queueId":1}:42}) and, in 1.2, a path instead of an object that it has written before ({"$ref":"$.dataVersion"}). All
// three are on the wire and in the files under store/config (spec: remoting.md 6, store.md 10.1). [Unmarshal] reads them,
// [Marshal] and its siblings write what a Java reader of either generation takes.
//
// The package knows no bodies: those are in compat/body. Start at [Unmarshal] for reading, at [Marshal] for writing.
package fastjson

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/bytedance/sonic"
)

// Bounds of what is read. The reader's own recursion is bounded by MaxDepth; beans nest four or five deep.
const (
	MaxDepth = 256
	MaxSize  = 512 << 20
)

// ErrTooLarge says that a text, or what its references would expand to, passes the bounds.
var ErrTooLarge = errors.New("json text too large")

// SyntaxError tells what is wrong with a text and where.
type SyntaxError struct {
	Offset int // bytes from the start of the text
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("json: %s at byte %d", e.Reason, e.Offset)
}

// reader decodes standard JSON. Strings are copied, because the text is usually a frame that will be reused. Names match exactly, as in
// fastjson 2.
var reader = sonic.Config{CopyString: true, CaseSensitive: true}.Froze()

// refKey marks a text in which fastjson 1.2 may have left out what it wrote before.
var refKey = []byte(`"$ref"`)

// Unmarshal decodes data into v. Text that is standard JSON with values of the expected types, the common case, is decoded
// straight away; anything else is normalised first, and read with fastjson's conversions (a number in quotes, a constant by its
// ordinal) if need be. v may be partly written when an error comes back.
//
// An object used as a map key becomes the text of that object, so the key type has to be a string or an encoding.TextUnmarshaler.
func Unmarshal(data []byte, v any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	if !bytes.Contains(data, refKey) && reader.Unmarshal(data, v) == nil {
		return nil
	}
	std, err := Normalize(nil, data)
	if err != nil {
		return err
	}
	return decode(std, v)
}

// decode reads standard JSON.
func decode(std []byte, v any) error {
	if reader.Unmarshal(std, v) == nil {
		return nil
	}
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decode json into %T: not a pointer", v)
	}
	if err := lenient(std, target.Elem()); err != nil {
		return fmt.Errorf("decode json into %T: %w", v, err)
	}
	return nil
}
