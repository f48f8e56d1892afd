package fastjson

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Enum is a string type whose constants have an order in Java. fastjson reads such a constant by its ordinal too, which is how
// the C++ client sends it.
type Enum interface{ Names() []string }

// lenient decodes standard JSON as fastjson would, where sonic says that a value has the wrong type: numbers in quotes, text that
// is not quoted, constants by ordinal. It runs only after sonic has refused, so it may be slow.
func lenient(raw []byte, v reflect.Value) error {
	raw = trimBlanks(raw)
	if len(raw) == 0 {
		return &SyntaxError{Reason: "no value"}
	}
	if v.CanAddr() {
		if u, ok := v.Addr().Interface().(json.Unmarshaler); ok {
			return u.UnmarshalJSON(raw)
		}
	}
	if string(raw) == "null" {
		switch v.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			v.SetZero()
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return lenient(raw, v.Elem())
	case reflect.Struct:
		return lenientStruct(raw, v)
	case reflect.Map:
		return lenientMap(raw, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return lenientSlice(raw, v)
		}
	case reflect.String:
		return lenientString(raw, v)
	case reflect.Bool:
		text := scalarText(raw)
		v.SetBool(strings.EqualFold(text, "true") || text == "1")
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return lenientInt(raw, v)
	case reflect.Float64:
		f, err := strconv.ParseFloat(scalarText(raw), 64)
		if err != nil {
			return mismatch(raw, v)
		}
		v.SetFloat(f)
		return nil
	}
	if err := reader.Unmarshal(raw, v.Addr().Interface()); err != nil {
		return mismatch(raw, v)
	}
	return nil
}

func mismatch(raw []byte, v reflect.Value) error {
	return fmt.Errorf("json: %.40s is no %v", raw, v.Type())
}

// scalarText is the text of a number, a word or a string.
func scalarText(raw []byte) string {
	if raw[0] != '"' {
		return string(raw)
	}
	var s string
	if reader.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func lenientStruct(raw []byte, v reflect.Value) error {
	if raw[0] != '{' {
		return mismatch(raw, v)
	}
	o := objectOf(v.Type())
	var err error
	eachMember(raw, func(name, value []byte) {
		m := o.find(scalarText(name))
		if m == nil || err != nil {
			return
		}
		if e := lenient(value, v.FieldByIndex(m.index)); e != nil {
			err = fmt.Errorf("%s: %w", m.name, e)
		}
	})
	return err
}

func lenientMap(raw []byte, v reflect.Value) error {
	if raw[0] != '{' {
		return mismatch(raw, v)
	}
	t := v.Type()
	if v.IsNil() {
		v.Set(reflect.MakeMap(t))
	}
	var err error
	eachMember(raw, func(name, value []byte) {
		if err != nil {
			return
		}
		key, elem := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		if u, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
			err = u.UnmarshalText([]byte(scalarText(name)))
		} else {
			err = lenient(name, key)
		}
		if err == nil {
			err = lenient(value, elem)
		}
		if err == nil {
			v.SetMapIndex(key, elem)
		}
	})
	return err
}

func lenientSlice(raw []byte, v reflect.Value) error {
	if raw[0] != '[' {
		return mismatch(raw, v)
	}
	out := reflect.MakeSlice(v.Type(), 0, 4)
	for pos := skipBlanks(raw, 1); pos < len(raw) && raw[pos] != ']'; {
		end := skipValue(raw, pos)
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := lenient(raw[pos:end], elem); err != nil {
			return fmt.Errorf("%d: %w", out.Len(), err)
		}
		out = reflect.Append(out, elem)
		if pos = skipBlanks(raw, end); pos < len(raw) && raw[pos] == ',' {
			pos = skipBlanks(raw, pos+1)
		} else {
			break
		}
	}
	v.Set(out)
	return nil
}

func lenientString(raw []byte, v reflect.Value) error {
	if e, ok := v.Interface().(Enum); ok && raw[0] != '"' {
		i, err := strconv.Atoi(string(raw))
		if names := e.Names(); err == nil && 0 <= i && i < len(names) {
			v.SetString(names[i])
		}
		return nil // an ordinal beyond the enum is null in Java
	}
	if raw[0] == '"' {
		v.SetString(scalarText(raw))
	} else {
		v.SetString(string(raw))
	}
	return nil
}

func lenientInt(raw []byte, v reflect.Value) error {
	text := scalarText(raw)
	switch text {
	case "true":
		text = "1"
	case "false", "", "null":
		text = "0"
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f < -1<<63 || f >= 1<<63 {
			return mismatch(raw, v)
		}
		i = int64(f)
	}
	if v.OverflowInt(i) {
		return mismatch(raw, v)
	}
	v.SetInt(i)
	return nil
}
