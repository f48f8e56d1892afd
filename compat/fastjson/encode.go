package fastjson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Marshal returns v as fastjson 2 writes it: members in alphabetical order, nil pointers, maps and slices left out (Java's null),
// empty ones written, doubles with a fraction, integer map keys bare, struct map keys as objects. Entries of maps, whose order in
// Java is that of a hash table, are sorted.
//
// A field is named by its json tag; "omitempty" leaves out an empty string too, for fields that are null in Java when unset; "-"
// leaves out the field. The tag fastjson:"nonnull" has a nil map or slice written as an empty one, for those that Java makes with
// the bean. Fields of embedded structs count as the outer struct's. A field of type [Extras] is spread out among the others. The
// types are ours, so one that cannot be written is a mistake in the program and panics.
func Marshal(v any) []byte { return Append(nil, v) }

// Append is Marshal to the end of dst.
func Append(dst []byte, v any) []byte {
	e := encoder{buf: dst}
	e.any(reflect.ValueOf(v))
	return e.buf
}

// MarshalStandard returns v as fastjson 2 writes it with BrowserCompatible and MapSortField, which is standard JSON: integer keys are
// quoted, and integers that a JavaScript number cannot hold are strings.
func MarshalStandard(v any) []byte {
	e := encoder{standard: true}
	e.any(reflect.ValueOf(v))
	return e.buf
}

// MarshalPretty returns v as the Java servers write their configuration files.
func MarshalPretty(v any) []byte { return Pretty(nil, Marshal(v)) }

// Extras are members of a JSON object that its Go type does not know, kept so that writing the object again does not lose what a
// newer (or older) Java server had put there. Values are standard, compact JSON.
type Extras map[string]json.RawMessage

type encoder struct {
	buf      []byte
	standard bool
}

// writeFunc writes a value of the one type it was made for.
type writeFunc func(e *encoder, v reflect.Value)

// member is one field of a struct type.
type member struct {
	name      string
	label     string // "name": with the quotes and the colon
	index     []int
	write     writeFunc
	omitEmpty bool   // strings
	nilable   bool   // nil is left out
	empty     string // what stands for nil instead
}

// object is what is known of a struct type.
type object struct {
	members []member // by name
	extras  []int    // index of the Extras field, nil if there is none
}

// writers and objects remember facts about types (like the caches of encoding/json): they depend on nothing but the program.
var (
	writers sync.Map // reflect.Type -> writeFunc
	objects sync.Map // reflect.Type -> *object
)

var (
	rawType    = reflect.TypeFor[json.RawMessage]()
	extrasType = reflect.TypeFor[Extras]()
)

func (e *encoder) any(v reflect.Value) {
	if !v.IsValid() {
		e.null()
		return
	}
	writerOf(v.Type())(e, v)
}

func (e *encoder) null() { e.buf = append(e.buf, "null"...) }

func writerOf(t reflect.Type) writeFunc {
	if w, ok := writers.Load(t); ok {
		return w.(writeFunc)
	}
	w, _ := writers.LoadOrStore(t, newWriter(t))
	return w.(writeFunc)
}

func newWriter(t reflect.Type) writeFunc {
	if t == rawType {
		return writeRaw
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(e *encoder, v reflect.Value) { e.buf = strconv.AppendBool(e.buf, v.Bool()) }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(e *encoder, v reflect.Value) { e.int(v.Int()) }
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return func(e *encoder, v reflect.Value) { e.int(int64(v.Uint())) }
	case reflect.Float64:
		return func(e *encoder, v reflect.Value) { e.buf = appendDouble(e.buf, v.Float()) }
	case reflect.String:
		return func(e *encoder, v reflect.Value) { e.buf = appendString(e.buf, v.String()) }
	case reflect.Pointer:
		elem := lazyWriter(t.Elem())
		return func(e *encoder, v reflect.Value) {
			if v.IsNil() {
				e.null()
				return
			}
			elem(e, v.Elem())
		}
	case reflect.Interface:
		return func(e *encoder, v reflect.Value) { e.any(v.Elem()) }
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return writeBase64
		}
		return newListWriter(t)
	case reflect.Map:
		return newMapWriter(t)
	case reflect.Struct:
		return newStructWriter(t)
	}
	panic(fmt.Sprintf("fastjson: no writer for %v", t))
}

// lazyWriter breaks the circle of types that hold themselves.
func lazyWriter(t reflect.Type) writeFunc {
	return func(e *encoder, v reflect.Value) { writerOf(t)(e, v) }
}

func writeRaw(e *encoder, v reflect.Value) {
	if v.Len() == 0 {
		e.null()
		return
	}
	e.buf = append(e.buf, v.Bytes()...)
}

func writeBase64(e *encoder, v reflect.Value) {
	e.buf = append(e.buf, '"')
	e.buf = base64.StdEncoding.AppendEncode(e.buf, v.Bytes())
	e.buf = append(e.buf, '"')
}

// maxExact is the largest integer that BrowserCompatible writes as a number (2^53 - 1).
const maxExact = 1<<53 - 1

func (e *encoder) int(i int64) {
	if e.standard && (i > maxExact || i < -maxExact) {
		e.buf = append(strconv.AppendInt(append(e.buf, '"'), i, 10), '"')
		return
	}
	e.buf = strconv.AppendInt(e.buf, i, 10)
}

func newListWriter(t reflect.Type) writeFunc {
	elem := lazyWriter(t.Elem())
	return func(e *encoder, v reflect.Value) {
		if t.Kind() == reflect.Slice && v.IsNil() {
			e.null()
			return
		}
		e.buf = append(e.buf, '[')
		for i := range v.Len() {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			elem(e, v.Index(i))
		}
		e.buf = append(e.buf, ']')
	}
}

func newMapWriter(t reflect.Type) writeFunc {
	elem := lazyWriter(t.Elem())
	kind := t.Key().Kind()
	switch kind {
	case reflect.String, reflect.Int32, reflect.Int64, reflect.Int, reflect.Struct:
	default:
		panic(fmt.Sprintf("fastjson: no writer for %v as a map key", t.Key()))
	}
	return func(e *encoder, v reflect.Value) {
		if v.IsNil() {
			e.null()
			return
		}
		e.buf = append(e.buf, '{')
		for i, entry := range e.sortedEntries(v, kind) {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.key(entry, kind)
			e.buf = append(e.buf, ':')
			elem(e, entry.value)
		}
		e.buf = append(e.buf, '}')
	}
}

// entry is a map entry with what it is sorted by.
type entry struct {
	num   int64
	text  string // of a struct key: its JSON
	value reflect.Value
}

func (e *encoder) sortedEntries(v reflect.Value, kind reflect.Kind) []entry {
	entries := make([]entry, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		x := entry{value: it.Value()}
		switch kind {
		case reflect.String:
			x.text = it.Key().String()
		case reflect.Struct:
			k := encoder{standard: e.standard}
			k.any(it.Key())
			x.text = string(k.buf)
		default:
			x.num = it.Key().Int()
		}
		entries = append(entries, x)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.num != b.num {
			if a.num < b.num {
				return -1
			}
			return 1
		}
		return strings.Compare(a.text, b.text)
	})
	return entries
}

func (e *encoder) key(x entry, kind reflect.Kind) {
	switch {
	case kind == reflect.String, kind == reflect.Struct && e.standard:
		e.buf = appendString(e.buf, x.text)
	case kind == reflect.Struct:
		e.buf = append(e.buf, x.text...)
	case e.standard:
		e.buf = append(strconv.AppendInt(append(e.buf, '"'), x.num, 10), '"')
	default:
		e.buf = strconv.AppendInt(e.buf, x.num, 10)
	}
}

func newStructWriter(t reflect.Type) writeFunc {
	o := objectOf(t)
	return func(e *encoder, v reflect.Value) {
		var extras []entry
		if o.extras != nil {
			extras = e.sortedEntries(v.FieldByIndex(o.extras), reflect.String)
		}
		e.buf = append(e.buf, '{')
		start := len(e.buf)
		comma := func() {
			if len(e.buf) > start {
				e.buf = append(e.buf, ',')
			}
		}
		extra := func() {
			comma()
			e.key(extras[0], reflect.String)
			e.buf = append(e.buf, ':')
			writeRaw(e, extras[0].value)
			extras = extras[1:]
		}
		for i := range o.members {
			m := &o.members[i]
			for len(extras) > 0 && extras[0].text < m.name {
				extra()
			}
			f := v.FieldByIndex(m.index)
			isNil := m.nilable && f.IsNil()
			if isNil && m.empty == "" || m.omitEmpty && f.Len() == 0 {
				continue
			}
			comma()
			e.buf = append(e.buf, m.label...)
			if isNil {
				e.buf = append(e.buf, m.empty...)
				continue
			}
			m.write(e, f)
		}
		for len(extras) > 0 {
			extra()
		}
		e.buf = append(e.buf, '}')
	}
}

// objectOf lists the members of a struct type.
func objectOf(t reflect.Type) *object {
	if o, ok := objects.Load(t); ok {
		return o.(*object)
	}
	o := &object{}
	o.collect(t, nil)
	slices.SortFunc(o.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	got, _ := objects.LoadOrStore(t, o)
	return got.(*object)
}

func (o *object) collect(t reflect.Type, at []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(at), i)
		if f.Type == extrasType {
			o.extras = index
			continue
		}
		tag, hasTag := f.Tag.Lookup("json")
		if f.Anonymous && !hasTag && f.Type.Kind() == reflect.Struct {
			o.collect(f.Type, index)
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		m := member{name: name, index: index, write: lazyWriter(f.Type)}
		m.label = string(append(appendString(nil, name), ':'))
		switch kind := f.Type.Kind(); kind {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			m.nilable = true
			switch {
			case f.Tag.Get("fastjson") != "nonnull":
			case kind == reflect.Map:
				m.empty = "{}"
			case kind == reflect.Slice:
				m.empty = "[]"
			}
		case reflect.String:
			m.omitEmpty = opts == "omitempty"
		}
		o.members = append(o.members, m)
	}
}

// appendDouble writes d as Double.toString does: always with a fraction, and with an exponent outside [1e-3, 1e7). What is no
// number is null.
func appendDouble(dst []byte, d float64) []byte {
	if math.IsNaN(d) || math.IsInf(d, 0) {
		return append(dst, "null"...)
	}
	if a := math.Abs(d); a == 0 || a >= 1e-3 && a < 1e7 {
		start := len(dst)
		dst = strconv.AppendFloat(dst, d, 'f', -1, 64)
		for _, c := range dst[start:] {
			if c == '.' {
				return dst
			}
		}
		return append(dst, '.', '0')
	}
	var tmp [32]byte
	text := string(strconv.AppendFloat(tmp[:0], d, 'e', -1, 64)) // 1.2e+07, 1e-05
	mantissa, exp, _ := strings.Cut(text, "e")
	dst = append(dst, mantissa...)
	if !strings.Contains(mantissa, ".") {
		dst = append(dst, '.', '0')
	}
	dst = append(dst, 'E')
	if exp[0] == '-' {
		dst = append(dst, '-')
	}
	return append(dst, strings.TrimLeft(exp[1:], "0")...)
}
