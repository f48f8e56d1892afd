package fastjson

import (
	"bytes"
	"unsafe"

	"github.com/bytedance/sonic"
)

// viewer decodes like reader, but leaves strings where they are.
var viewer = sonic.Config{CaseSensitive: true}.Froze()

// View is [Unmarshal] for texts that come often and bring nothing new: strings may share the memory of data, so that v must not be used
// any more when data changes, and slices of v that have room are filled again. Elements of such slices have to be zero beyond
// their length.
func View(data []byte, v any) error {
	if len(data) <= MaxSize && !bytes.Contains(data, refKey) && viewer.UnmarshalFromString(unsafe.String(unsafe.SliceData(data), len(data)), v) == nil {
		return nil
	}
	return Unmarshal(data, v)
}
