package record

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"
)

// A properties string is name 0x01 value 0x02, repeated (Java MessageDecoder). A pair without a name or a value does not count,
// of equal names the last counts, and the closing 0x02 of the last pair may be missing (older clients).
const (
	NameEnd byte = 1
	PairEnd byte = 2
)

// Names that the store itself reads or writes.
const (
	PropKeys               = "KEYS"
	PropTags               = "TAGS"
	PropUniqKey            = "UNIQ_KEY"
	PropDelay              = "DELAY"
	PropWait               = "WAIT"
	PropCRC32              = "__CRC32#"
	PropInnerNum           = "INNER_NUM"
	PropInnerBase          = "INNER_BASE"
	PropMultiDispatch      = "INNER_MULTI_DISPATCH"
	PropMultiDispatchQueue = "INNER_MULTI_QUEUE_OFFSET"

	// Where a message belongs that waits in a topic of the broker's.
	PropRealTopic = "REAL_TOPIC"
	PropRealQueue = "REAL_QID"
)

// Cursor walks the pairs of a properties string in stored order.
//
//	for c := record.Pairs(props); c.Next(); { use(c.Name, c.Value) }
type Cursor struct {
	Name, Value []byte // alias the properties
	rest        []byte
}

// Pairs starts a walk.
func Pairs(props []byte) Cursor { return Cursor{rest: props} }

// Next goes to the next pair that counts; false at the end.
func (c *Cursor) Next() bool {
	for len(c.rest) > 0 {
		pair := c.rest
		if i := bytes.IndexByte(pair, PairEnd); i >= 0 {
			pair, c.rest = pair[:i], pair[i+1:]
		} else {
			c.rest = nil
		}
		// The first 0x01 ends the name; more of them belong to the value.
		if k := bytes.IndexByte(pair, NameEnd); k > 0 && k < len(pair)-1 {
			c.Name, c.Value = pair[:k], pair[k+1:]
			return true
		}
	}
	return false
}

// PropertyBytes is the value of name in props, nil if there is none; it aliases props.
func PropertyBytes(props []byte, name string) []byte {
	var v []byte
	if name == "" {
		return nil
	}
	// A name is looked for as a whole, which is quicker than going from pair to pair.
	for at := 0; ; {
		i := bytes.Index(props[at:], unsafe.Slice(unsafe.StringData(name), len(name)))
		if i < 0 {
			return v
		}
		i += at
		at = i + len(name)
		if i > 0 && props[i-1] != PairEnd || at >= len(props) || props[at] != NameEnd {
			continue
		}
		rest := props[at+1:]
		if end := bytes.IndexByte(rest, PairEnd); end >= 0 {
			rest = rest[:end]
		}
		if len(rest) > 0 {
			v = rest
		}
		at += 1 + len(rest)
	}
}

// Property is the value of name in props, "" if there is none; it shares their memory.
func Property(props, name string) string {
	return view(PropertyBytes(unsafe.Slice(unsafe.StringData(props), len(props)), name))
}

// AppendProperty appends one pair.
func AppendProperty(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, NameEnd)
	dst = append(dst, value...)
	return append(dst, PairEnd)
}

// AppendPairs appends the pairs of props that count, but for those of some names. The last of them is ended too.
func AppendPairs(dst []byte, props string, without ...string) []byte {
	for c := Pairs(unsafe.Slice(unsafe.StringData(props), len(props))); c.Next(); {
		if name := view(c.Name); !slices.Contains(without, name) {
			dst = AppendProperty(dst, name, view(c.Value))
		}
	}
	return dst
}

// SetProperty appends props to dst with name set to value: older pairs of that name are dropped, the new one is last.
func SetProperty(dst []byte, props, name, value string) []byte {
	start := len(dst)
	dst = appendWithout(dst, props, name)
	if n := len(dst); n > start && dst[n-1] != PairEnd {
		dst = append(dst, PairEnd)
	}
	return AppendProperty(dst, name, value)
}

// DeleteProperty is props without the pairs of name. It allocates only where there is one.
func DeleteProperty(props, name string) string {
	if !hasName(props, name) {
		return props
	}
	return string(appendWithout(make([]byte, 0, len(props)), props, name))
}

// hasName also sees a pair with an empty value, which DeleteProperty has to take out too.
func hasName(props, name string) bool {
	for len(props) > 0 {
		if pairIs(props, name) {
			return true
		}
		i := strings.IndexByte(props, PairEnd)
		if i < 0 {
			return false
		}
		props = props[i+1:]
	}
	return false
}

func pairIs(pair, name string) bool {
	return len(pair) > len(name) && pair[len(name)] == NameEnd && pair[:len(name)] == name
}

func appendWithout(dst []byte, props, name string) []byte {
	for len(props) > 0 {
		n := len(props)
		if i := strings.IndexByte(props, PairEnd); i >= 0 {
			n = i + 1
		}
		if !pairIs(props, name) {
			dst = append(dst, props[:n]...)
		}
		props = props[n:]
	}
	return dst
}
