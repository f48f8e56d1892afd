package fastjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sort"
)

// UnmarshalKeeping decodes data into v, a pointer to a struct, and returns the members that the struct does not know. It is for
// UnmarshalJSON methods of types with an [Extras] field; v has another type, without that method.
func UnmarshalKeeping(data []byte, v any) (Extras, error) {
	if reader.Unmarshal(data, v) != nil {
		// A decoder that calls UnmarshalJSON has found where the object ends, and may have looked no closer.
		std, err := Normalize(nil, data)
		if err != nil {
			return nil, err
		}
		if err := decode(std, v); err != nil {
			return nil, err
		}
		data = std
	}
	o := objectOf(reflect.TypeOf(v).Elem())
	var extras Extras
	eachMember(data, func(name, value []byte) {
		if o.find(string(name[1:len(name)-1])) != nil {
			return
		}
		var key string
		if reader.Unmarshal(name, &key) != nil {
			return
		}
		if extras == nil {
			extras = Extras{}
		}
		var compact bytes.Buffer
		if json.Compact(&compact, value) == nil {
			extras[key] = json.RawMessage(bytes.ToValidUTF8(compact.Bytes(), []byte("\uFFFD")))
		}
	})
	return extras, nil
}

// find looks for a member by its name.
func (o *object) find(name string) *member {
	i := sort.Search(len(o.members), func(i int) bool { return o.members[i].name >= name })
	if i < len(o.members) && o.members[i].name == name {
		return &o.members[i]
	}
	return nil
}

// eachMember calls f for the members of the object in data, which has been decoded before and so is known to be well-formed.
func eachMember(data []byte, f func(name, value []byte)) {
	pos := skipBlanks(data, 0)
	if pos >= len(data) || data[pos] != '{' {
		return
	}
	for pos++; pos < len(data); pos++ {
		pos = skipBlanks(data, pos)
		if pos >= len(data) || data[pos] != '"' {
			return
		}
		end := skipString(data, pos)
		name := data[pos:end]
		pos = skipBlanks(data, end)
		pos = skipBlanks(data, pos+1) // the colon
		end = skipValue(data, min(pos, len(data)))
		f(name, trimBlanks(data[min(pos, len(data)):end]))
		pos = skipBlanks(data, end)
	}
}

func trimBlanks(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

func skipBlanks(data []byte, pos int) int {
	for pos < len(data) {
		switch data[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		default:
			return pos
		}
	}
	return pos
}
